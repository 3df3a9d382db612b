"""Texts that spell out control tokens get ordinary tokens."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.student.plain_tokenizer import PlainTokenizer, pattern_of


@pytest.mark.parametrize("text", ["<bos>", "a<eos>b", "<think>", "x<think><think>y", "<<bos>bos>"])
def test_ids_of_a_spelled_out_control_token_are_ordinary_and_decode_to_it(tokenizer, text):
    plain = PlainTokenizer(tokenizer)
    [ids, other] = plain.ids([text, "my card"])
    assert set(tokenizer.added_tokens_decoder).isdisjoint(ids)
    assert tokenizer.decode(ids) == text
    assert plain.ids_of("my card") == other == tokenizer("my card", add_special_tokens=False)["input_ids"]


@given(st.lists(st.text("<|>a", max_size=4), max_size=5), st.text("<|>a", max_size=12))
@settings(deadline=None)
def testpattern_of_matches_where_a_single_word_matches(words, text):
    found = {match.start() for match in re.finditer(f"(?={pattern_of(words)})", text)} if words else set()
    assert found == {at for at in range(len(text) + 1) if any(text.startswith(word, at) for word in words)}


def testpattern_of_is_fast_for_many_words():
    text = "<unused" * 1000
    few, many = (re.compile(f"(?={pattern_of([f'<unused{n}>' for n in range(count)])})") for count in (6, 6000))

    def least(pattern):
        times = []
        for _ in range(5):
            began = time.process_time()
            assert not list(pattern.finditer(text))
            times.append(time.process_time() - began)
        return min(times)

    assert least(many) < 20 * least(few), "a flat pattern tries each word at each position: 1,000 times as long"
