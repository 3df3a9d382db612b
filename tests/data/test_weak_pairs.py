"""Weak pairs: the scores of a plain loop on a small log, and random pairs that share nothing."""

from __future__ import annotations

import itertools
import math

import numpy as np

from flipkd.data.weak_pairs import shared_pairs


def test_shared_pairs_have_the_scores_and_labels_of_a_plain_loop():
    random = np.random.default_rng(0)
    texts, targets = random.integers(12, size=80), random.integers(9, size=80)
    seen = {t: {int(y) for x, y in zip(texts, targets, strict=True) if x == t} for t in range(12)}
    expected = {}
    for a, b in itertools.combinations(range(12), 2):
        shared = len(seen[a] & seen[b])
        score = shared / math.sqrt(len(seen[a]) * len(seen[b])) if shared else 0.0
        if score >= 0.5 and shared >= 3:
            expected[a, b] = score
    found = shared_pairs(texts, targets, match_from=0.5, min_shared=3)
    matches = found.label == 1
    got = {(a, b): s for a, b, s in zip(found.left[matches], found.right[matches], found.score[matches], strict=True)}
    assert expected
    assert got.keys() == expected.keys()
    assert all(math.isclose(got[pair], score) for pair, score in expected.items())
    for a, b in zip(found.left[~matches], found.right[~matches], strict=True):
        assert not seen[int(a)] & seen[int(b)]


def test_shared_pairs_count_a_repeated_link_once_and_have_as_many_others_as_matches():
    texts, targets = [0, 0, 0, 1, 2, 3], [0, 0, 1, 0, 2, 3]
    found = shared_pairs(texts, targets, match_from=0.1, min_shared=1, seed=1)
    assert found.label.tolist() == [1, 0]
    assert math.isclose(found.score[0], 1 / math.sqrt(2))


def test_shared_pairs_without_links_are_none():
    assert len(shared_pairs([], [], match_from=0.1, min_shared=1).left) == 0
    assert len(shared_pairs([0, 1], [0, 1], match_from=0.1, min_shared=1).left) == 0
