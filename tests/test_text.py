"""is_empty: what check_pairs, the prompt and the matcher agree to call an empty text."""

from __future__ import annotations

import re
import sys
import time
import unicodedata

import pytest

from flipkd.data import check_pairs
from flipkd.errors import DataError
from flipkd.student.prompt import Prompt, Template
from flipkd.text import first_visible, is_empty

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
