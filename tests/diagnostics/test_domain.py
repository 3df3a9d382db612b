"""Out-of-domain detector: similarities by plain loops, the bound of false alarms, and foreign vectors."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.diagnostics.domain import FALSE_ALARMS, NEAREST, DomainDetector
from flipkd.errors import DataError


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def around(centre, n, seed):
    return unit(np.asarray(centre) + 0.1 * np.random.default_rng(seed).normal(size=(n, 4)))


def test_the_score_is_the_mean_cosine_with_the_nearest_texts():
    known, new = around([1, 0, 0, 0], 20, 0), around([0, 1, 0, 0], 3, 1)
    found = DomainDetector(known).similarity(new)
    for vector, score in zip(new, found, strict=True):
        assert score == pytest.approx(np.mean(sorted(float(vector @ one) for one in known)[-NEAREST:]), abs=1e-6)


def test_about_the_share_of_false_alarms_is_below_the_bound_and_foreign_pairs_are():
    detector = DomainDetector(around([1, 0, 0, 0], 400, 0))
    again = detector.similarity(around([1, 0, 0, 0], 400, 1))
    assert (again < detector.bound).mean() == pytest.approx(FALSE_ALARMS, abs=0.05)
    foreign = detector.pair_similarity(around([1, 0, 0, 0], 30, 2), around([0, 0, 1, 0], 30, 3))
    assert (foreign < detector.bound).all(), "one foreign text is enough"


def test_a_text_of_the_domain_is_not_compared_with_itself():
    detector = DomainDetector(unit([[1, 0], [0, 1], [0, 1]]))
    assert detector.similarity(detector.vectors, known=True) == pytest.approx([0, 0])


def test_a_single_text_is_no_domain():
    with pytest.raises(DataError, match="two different texts"):
        DomainDetector(unit([[1, 0], [1, 0]]))
