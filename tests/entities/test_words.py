"""word_pairs: texts that share rare words, as a plain loop finds them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.entities import words
from flipkd.entities.words import word_pairs, words_of

TEXTS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=5).map(" ".join), min_size=1, max_size=12)


@settings(deadline=None)
@given(TEXTS, st.none() | TEXTS, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_word_pairs_are_those_of_a_plain_loop(left, right, least, most, rows):
    sides = [[set(text.split()) for text in side] for side in ([left] if right is None else [left, right])]
    rare = {w for w in "abcdefg" if all(sum(w in text for text in side) <= most for side in sides)}
    expected = [
        (i, j)
        for i, a in enumerate(sides[0])
        for j, b in enumerate(sides[-1])
        if len(a & b & rare) >= least and (right is not None or i < j)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "BLOCK_ROWS", rows)
        found = word_pairs(left, right, least=least, most=most)
    assert sorted(zip(*(side.tolist() for side in found), strict=True)) == expected


def test_words_have_a_normal_spelling():
    assert words_of("Caf\u00e9, CAFE\u0301 \uff21-7!") == {"caf\u00e9", "a", "7"}
    assert words_of(" ... ") == set()
