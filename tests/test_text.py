"""Empty texts, on which check_pairs, prompt and matcher agree, and the normal form of a text."""

from __future__ import annotations

import re
import sys
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.data.check import check_pairs
from flipkd.errors import DataError
from flipkd.student.prompt import Prompt, Template
from flipkd.text import LONGEST_RUN, caseless, first_visible, folded, is_empty, normal_text

EMPTY = ["", " ", "\t\r\n", "\u00a0\u2003\u3000", "\u200b", "\ufeff\u2060\u200d", "\x00\x07", "\u2028"]
EMPTY += ["\u115f", "\u1160\u3164\uffa0", "\u2800\u2800", "\ufe0f", "\U000e0100", "\u180b \u034f", "\U0001d159"]
NOT_EMPTY = ["a", " a ", "\u200ba", "7", "?", "…", "_", "é", "日", "😀", "\U0001fae9", "\ue000", "ﷺ"]
NOT_EMPTY += ["\u3164x", "\u2801", "\u0301", "❤\ufe0f", "ㅎ", "\U0001f3f4\U000e0067", "\u17b6"]


@pytest.mark.parametrize("text", EMPTY)
def test_is_empty_for_invisible_texts(text):
    assert is_empty(text)


@pytest.mark.parametrize("text", NOT_EMPTY)
def test_is_empty_is_false_for_visible_texts(text):
    assert not is_empty(text)


def test_is_empty_agrees_with_unicode_categories():
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    by_category = {c for c in characters if unicodedata.category(c).startswith(("Z", "Cc", "Cf", "Cs"))}
    others = {c for c in characters if is_empty(c)} - by_category
    assert all(is_empty(c) for c in by_category)
    named = {c for c in others if unicodedata.category(c) != "Cn"}
    kinds = ("FILLER", "VARIATION SELECTOR", "BLANK", "VOWEL INHERENT", "GRAPHEME JOINER", "NULL NOTEHEAD")
    assert [c for c in named if not any(kind in unicodedata.name(c) for kind in kinds)] == []
    ignorable = re.compile("[\u2065\ufff0-\ufff8\U000e0000-\U000e0fff\U00013439-\U0001343f]")
    assert all(map(ignorable.fullmatch, others - named)), "unassigned in the Unicode version of this Python"


def test_first_visible_after_a_long_invisible_run():
    for character in ("\n", "\u200b", "\u3164", "\U000e0100"):
        assert first_visible(character * 5000 + "x" + character) == 5000
        assert first_visible(character * 5000) == -1


def test_is_empty_is_fast_for_a_long_invisible_run():
    """Compare with an empty loop: a search in C takes half its time, a Python check of each character took 15 times."""

    def fastest(work):
        times = []
        for _ in range(5):
            began = time.process_time()
            work()
            times.append(time.process_time() - began)
        return min(times)

    for run in (" " * 500_000, "\u200b" * 500_000, "\U000e0100" * 500_000):
        assert fastest(lambda run=run: is_empty(run)) < 3 * fastest(lambda run=run: [None for _ in run])


def test_is_empty_agrees_with_check_pairs_and_prompt(tokenizer):
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
def test_normal_text_removes_characters_without_meaning(text, normal):
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
def test_normal_text_keeps_characters_with_meaning(text):
    assert normal_text(text) == text


ANY = st.characters(exclude_categories=("Cs",))
SPECIAL = st.sampled_from(
    "\u200b\u200c\u200d\u034f\ufe0f \n\x85\u3000\u0301\u0323\ufb01\ufdfa\uff21\uffa1\u0915\u0627\ufe8d😀ſ\u1e9b"
)


@given(st.text(st.one_of(ANY, SPECIAL), max_size=30))
@settings(deadline=None, max_examples=300)
def test_normal_text_is_idempotent_and_keeps_visible_texts_visible(text):
    normal = normal_text(text)
    assert normal_text(normal) == normal
    assert normal == " ".join(normal.split())
    assert is_empty(text) or not is_empty(normal)
    assert normal_text(unicodedata.normalize("NFD", text)) == normal_text(unicodedata.normalize("NFC", text))


def test_normal_text_changes_letters_as_nfkc_only():
    for code in (*range(0x2100, 0x2200), *range(0xFB00, 0x10000), *range(0x1D400, 0x1D800)):
        normal = normal_text(chr(code))
        assert normal in ("", chr(code)) or unicodedata.normalize("NFKC", normal) == unicodedata.normalize(
            "NFKC", chr(code)
        )


@pytest.mark.parametrize(
    "unit", ["a\u200b", "\u0301\u0323", "\u0301\u0323 ", "\n", "\u0645\u200c", "\u200c", "ｃ", "e\u0301"]
)
def test_normal_text_takes_linear_time(unit):
    def fastest(text):
        times = []
        for _ in range(3):
            began = time.process_time()
            normal_text(text)
            times.append(time.process_time() - began)
        return min(times)

    short, long = unit * (20_000 // len(unit)), unit * (160_000 // len(unit))
    assert fastest(long) < 24 * max(fastest(short), 1e-4), "eight times as long; quadratic time would be 64 times"


def test_caseless_is_equal_for_texts_that_differ_in_case_alone():
    assert caseless(" My  CARD\u200b stra\u00dfe ") == caseless("my card STRASSE")
    assert caseless("my card") != caseless("my cards")


def test_normal_text_does_not_compose_longer_runs():
    run = "e\u0301" * LONGEST_RUN
    assert normal_text(f"{run}\u200b  e\u0301") == f"{folded(run)} é"
