"""is_empty: what check_pairs, the prompt and the matcher agree to call an empty text."""

from __future__ import annotations

import re
import sys
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.data import check_pairs
from flipkd.errors import DataError
from flipkd.student.prompt import Prompt, Template
from flipkd.text import LONGEST_RUN, first_visible, folded, is_empty, normal_text

EMPTY = ["", " ", "\t\r\n", "\u00a0\u2003\u3000", "\u200b", "\ufeff\u2060\u200d", "\x00\x07", "\u2028"]
EMPTY += ["\u115f", "\u1160\u3164\uffa0", "\u2800\u2800", "\ufe0f", "\U000e0100", "\u180b \u034f", "\U0001d159"]
NOT_EMPTY = ["a", " a ", "\u200ba", "7", "?", "…", "_", "é", "日", "😀", "\U0001fae9", "\ue000", "ﷺ"]
NOT_EMPTY += ["\u3164x", "\u2801", "\u0301", "❤\ufe0f", "ㅎ", "\U0001f3f4\U000e0067", "\u17b6"]


@pytest.mark.parametrize("text", EMPTY)
def test_nothing_to_see(text):
    assert is_empty(text)


@pytest.mark.parametrize("text", NOT_EMPTY)
def test_something_to_see(text):
    assert not is_empty(text)


def test_every_character_of_an_invisible_category_is_one_and_few_others_are():
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    by_category = {c for c in characters if unicodedata.category(c).startswith(("Z", "Cc", "Cf", "Cs"))}
    others = {c for c in characters if is_empty(c)} - by_category
    assert all(is_empty(c) for c in by_category)
    named = {c for c in others if unicodedata.category(c) != "Cn"}
    kinds = ("FILLER", "VARIATION SELECTOR", "BLANK", "VOWEL INHERENT", "GRAPHEME JOINER", "NULL NOTEHEAD")
    assert [c for c in named if not any(kind in unicodedata.name(c) for kind in kinds)] == []
    ignorable = re.compile("[\u2065\ufff0-\ufff8\U000e0000-\U000e0fff\U00013439-\U0001343f]")
    assert all(map(ignorable.fullmatch, others - named)), "of what this Python's Unicode does not have yet"


def test_the_first_visible_character_is_found_behind_any_run():
    for character in ("\n", "\u200b", "\u3164", "\U000e0100"):
        assert first_visible(character * 5000 + "x" + character) == 5000
        assert first_visible(character * 5000) == -1


def test_a_run_of_invisible_characters_costs_less_than_an_empty_loop_over_it():
    """One search in C takes half as long as such a loop; a look at each character in Python took 15 times as long."""

    def least(work):
        times = []
        for _ in range(5):
            began = time.process_time()
            work()
            times.append(time.process_time() - began)
        return min(times)

    for run in (" " * 500_000, "\u200b" * 500_000, "\U000e0100" * 500_000):
        assert least(lambda run=run: is_empty(run)) < 3 * least(lambda run=run: [None for _ in run])


def test_check_and_prompt_agree(tokenizer):
    from datasets import Dataset

    prompt = Prompt(tokenizer, Template())
    for text in EMPTY + NOT_EMPTY:
        counted = check_pairs(Dataset.from_dict({"text1": [text], "text2": ["b"]})).counts["empty_texts"]
        assert counted == is_empty(text)
        if is_empty(text):
            with pytest.raises(DataError, match="is empty"):
                prompt.text_ids([text])
        else:
            assert prompt.text_ids([text])[0][0]


@pytest.mark.parametrize(
    "text, normal",
    [
        (" My\u00a0card\r\n is\u2028 lost\t", "My card is lost"),
        ("c\u200ba\u2060r\ufeffd\u00ad \u202elost\u202c", "card lost"),
        ("ca\x00rd\x1b[31m", "card[31m"),
        ("card\U000e0049\U000e0067", "card"),
        ("ｃａｒｄ１２", "card12"),
        ("𝐜𝐚𝐫𝐝", "card"),
        ("ﬁne ﬅ", "fine ſt"),
        ("ｶﾞ", "ガ"),
        ("Cafe\u0301", "Café"),
        ("a\u200cb", "ab"),
        ("❤\ufe0f", "❤"),
    ],
)
def test_what_carries_no_meaning_is_gone(text, normal):
    assert normal_text(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "My Card is LOST!",
        "10⁵ N ½ ™ ①",
        "你好，世界？",
        "می\u200cخواهم",
        "क्\u200dष",
        "👨\u200d👩\u200d👧",
        "ㅋㅋㅋ",
        "C++ …",
        "ĳ Ⅳ",
    ],
)
def test_what_means_something_stays(text):
    assert normal_text(text) == text


ANY = st.characters(exclude_categories=("Cs",))
ODD = st.sampled_from(
    "\u200b\u200c\u200d\u034f\ufe0f \n\x85\u3000\u0301\u0323\ufb01\ufdfa\uff21\uffa1\u0915\u0627\ufe8d😀ſ\u1e9b"
)


@given(st.text(st.one_of(ANY, ODD), max_size=30))
@settings(deadline=None, max_examples=300)
def test_a_normal_form_is_its_own_and_visible_where_the_text_was(text):
    normal = normal_text(text)
    assert normal_text(normal) == normal
    assert normal == " ".join(normal.split())
    assert is_empty(text) or not is_empty(normal)
    assert normal_text(unicodedata.normalize("NFD", text)) == normal_text(unicodedata.normalize("NFC", text))


def test_every_letter_that_is_changed_is_another_form_of_the_same():
    for code in (*range(0x2100, 0x2200), *range(0xFB00, 0x10000), *range(0x1D400, 0x1D800)):
        normal = normal_text(chr(code))
        assert normal in ("", chr(code)) or unicodedata.normalize("NFKC", normal) == unicodedata.normalize(
            "NFKC", chr(code)
        )


@pytest.mark.parametrize(
    "unit", ["a\u200b", "\u0301\u0323", "\u0301\u0323 ", "\n", "\u0645\u200c", "\u200c", "ｃ", "e\u0301"]
)
def test_a_normal_form_takes_time_in_proportion_to_the_text(unit):
    def least(text):
        times = []
        for _ in range(3):
            began = time.process_time()
            normal_text(text)
            times.append(time.process_time() - began)
        return min(times)

    short, long = unit * (20_000 // len(unit)), unit * (160_000 // len(unit))
    assert least(long) < 24 * max(least(short), 1e-4), "eight times as long; quadratic time would be 64 times"


def test_a_run_too_long_to_be_composed_is_only_folded():
    run = "e\u0301" * LONGEST_RUN
    assert normal_text(f"{run}\u200b  e\u0301") == f"{folded(run)} é"
