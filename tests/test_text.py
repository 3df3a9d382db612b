"""is_empty: what check_pairs, the prompt and the matcher agree to call an empty text."""

from __future__ import annotations

import pytest

from flipkd.data import check_pairs
from flipkd.errors import DataError
from flipkd.student.prompt import Prompt, Template
from flipkd.text import is_empty

EMPTY = ["", " ", "\t\r\n", "\u00a0\u2003\u3000", "\u200b", "\ufeff\u2060\u200d", "\x00\x07", "\u2028"]
NOT_EMPTY = ["a", " a ", "\u200ba", "7", "?", "…", "_", "é", "日", "😀", "\U0001fae9", "\ue000", "ﷺ"]


@pytest.mark.parametrize("text", EMPTY)
def test_nothing_to_see(text):
    assert is_empty(text)


@pytest.mark.parametrize("text", NOT_EMPTY)
def test_something_to_see(text):
    assert not is_empty(text)


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
