"""Filters: near copies by the n-grams of a loop, and bounds that only shrink what is kept."""

from __future__ import annotations

import itertools

import numpy as np

from flipkd.generate.filters import SIMILAR, accepted, critic_precision, near_copies


def test_near_copies_are_those_of_a_plain_loop():
    of = ["how do I reset my card PIN", "where is my transfer"]
    texts = ["How do I reset my card pin?", "how do i reset my card pin", "where is it", "", "x"]

    def grams(text):
        words = [f" {word} " for word in text.casefold().split()]
        return {word[k : k + 4] for word in words for k in range(max(len(word) - 3, 1))}

    expected = []
    for text in texts:
        shares = [len(grams(text) & grams(one)) / max(len(grams(text) | grams(one)), 1) for one in of]
        expected.append(max(shares) >= SIMILAR)
    assert near_copies(texts, of).tolist() == expected == [True, True, False, False, False]
    assert near_copies(["x"], ["X"]).tolist() == [True]
    assert near_copies([], of).tolist() == near_copies(["a"], []).tolist()[1:] == []


def test_accepted_by_a_stricter_critic_is_a_subset():
    random = np.random.default_rng(0)
    probability, label = random.random(200), random.integers(2, size=200)
    kept = [accepted(probability, label, match_from=0.5 + t, mismatch_up_to=0.5 - t) for t in (0.0, 0.1, 0.3, 0.5)]
    assert all((inner <= outer).all() for outer, inner in itertools.pairwise(kept))
    assert [bool(mask.any()) for mask in kept] == [True, True, True, False]


def test_critic_precision_is_that_counted_by_hand():
    found = critic_precision(
        np.array([0.9, 0.8, 0.1, 0.5]), np.array([1, 0, 0, 1]), match_from=0.7, mismatch_up_to=0.2
    )
    assert found == {"match": 0.5, "no_match": 1.0}
    assert critic_precision(np.array([0.5]), np.array([1]), match_from=0.7, mismatch_up_to=0.2) == {}
