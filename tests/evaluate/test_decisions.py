"""Decisions by hand and by loop, what goes to review, and Wilson's interval by its formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from flipkd.errors import DataError
from flipkd.evaluate import decide, measure, review_rates, share_interval
from flipkd.evaluate.decisions import measure_decisions, one_decision


def test_the_borders_belong_to_the_upper_side():
    scores = [2.0, 1.0, 0.999, 0.0, -0.001]
    assert decide(scores, threshold=1.0) == ["match", "match", "no_match", "no_match", "no_match"]
    band = decide(scores, threshold=1.0, review_threshold=0.0)
    assert band == ["match", "match", "review", "review", "no_match"]
    assert decide([], threshold=0.0) == []


def test_float32_scores_are_compared_in_float64():
    score = np.array([0.1], np.float32)  # 0.10000000149
    assert decide(score, threshold=0.1) == ["match"]
    assert decide(score, threshold=0.1000000016, review_threshold=0.1000000015) == ["no_match"]


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=4, max_size=30), st.floats(-4, 4), st.floats(0.01, 3)
)
def test_rates_are_those_of_a_loop(rows, threshold, width):
    score = [s for s, _ in rows] + [0.0, 0.0]
    label = [int(y) for _, y in rows] + [0, 1]
    found = review_rates(score, label, threshold=threshold, review_threshold=threshold - width)
    reviewed = missed = 0
    for s, y in zip(score, label, strict=True):
        reviewed += threshold - width <= s < threshold
        missed += y == 1 and s < threshold - width
    assert found.pop("review_threshold") == threshold - width
    assert found == {"reviewed": reviewed / len(score), "missed": missed / sum(label)}


def test_all_of_it_is_both_parts_and_without_a_band_the_first():
    score, label, cuts = [2.0, 1.0, 0.0, -1.0], [1, 0, 1, 0], {"threshold": 1.5, "review_threshold": -0.5}
    plain = measure(score, label, threshold=1.5, probabilities=[0.9, 0.6, 0.4, 0.1])
    whole = measure_decisions(score, label, probabilities=[0.9, 0.6, 0.4, 0.1], **cuts)
    assert whole == plain | review_rates(score, label, **cuts)
    without = measure_decisions(score, label, threshold=1.5, review_threshold=None, probabilities=[0.9, 0.6, 0.4, 0.1])
    assert without == plain


def test_rates_need_both_classes():
    with pytest.raises(DataError, match="both classes"):
        review_rates([0.0, 1.0], [1, 1], threshold=0.5, review_threshold=0.1)


@pytest.mark.parametrize("hits, n", [(0, 1), (3, 3), (19, 20), (500, 1000)])
def test_the_interval_is_wilsons(hits, n):
    z, share = 1.959963984540054, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert share_interval(hits, n) == pytest.approx((max(middle - half, 0), min(middle + half, 1)), abs=1e-9)
    assert share_interval(hits, n) == pytest.approx(binomtest(hits, n).proportion_ci(method="wilson"), abs=1e-12)


def test_of_no_rows_nothing_is_known():
    assert share_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "scores, said", [([0.5, 0.9], "every pair"), ([0.1, 0.2], "no pair"), ([0.1, 0.9], ""), ([], "")]
)
def test_one_decision_for_all_pairs_is_a_warning(scores, said):
    assert one_decision(scores, 0.5).startswith(said)
    assert bool(one_decision(scores, 0.5)) == bool(said)
