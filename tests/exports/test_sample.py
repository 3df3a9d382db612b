"""The built-in pairs: short texts, with some that the rules for texts change."""

from __future__ import annotations

from flipkd.exports.sample import SAMPLE
from flipkd.inputs import checked_sides
from flipkd.text import normal_text


def test_the_sample_has_normal_texts_and_others():
    left, right = checked_sides(SAMPLE)
    assert len(set(SAMPLE)) == len(SAMPLE) == 12
    assert 2 <= sum(normal_text(text) != text for text in [*left, *right]) <= 4
    assert max(map(len, [*left, *right])) < 80
