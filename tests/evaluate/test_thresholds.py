"""best_threshold and threshold_for against a loop over all candidates, with gaps and edges."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from flipkd.errors import ConfigError, DataError
from flipkd.evaluate import best_threshold, threshold_for

SCORERS = {"f1": lambda label, found: f1_score(label, found, zero_division=0), "accuracy": accuracy_score}


@st.composite
def rows(draw):
    """Scores with many ties, and labels with at least two rows of each class."""
    label = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), max_size=12))]
    label = np.array(draw(st.permutations(label)))
    values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6))
    return np.array(draw(st.lists(values, min_size=len(label), max_size=len(label)))), label


def candidates(score):
    return [*np.unique(score), float(score.max()) + 1]


@settings(deadline=None, max_examples=60)
@given(rows(), st.sampled_from(["f1", "accuracy"]))
def test_best_threshold_is_the_best_of_all_candidates(data, metric):
    score, label = data
    found = best_threshold(score, label, metric=metric)
    every = [SCORERS[metric](label, score >= cut) for cut in candidates(score)]
    assert found.reached == pytest.approx(max(every))
    assert SCORERS[metric](label, score >= found.value) == pytest.approx(found.reached)
    assert (found.n, found.positives, found.metric) == (len(label), label.sum(), metric)


@settings(deadline=None, max_examples=60)
@given(rows(), st.sampled_from(["f1", "accuracy"]))
def test_best_threshold_of_ties_is_the_highest(data, metric):
    score, label = data
    found = best_threshold(score, label, metric=metric)
    above = [
        cut for cut in candidates(score) if np.count_nonzero(score >= cut) < np.count_nonzero(score >= found.value)
    ]
    assert all(SCORERS[metric](label, score >= cut) < found.reached - 1e-12 for cut in above)


@settings(deadline=None, max_examples=60)
@given(rows(), st.floats(0.01, 1))
def test_threshold_for_precision_is_the_lowest_that_reaches_it(data, precision):
    score, label = data
    good = [cut for cut in np.unique(score) if precision_score(label, score >= cut) >= precision]
    if not good:
        with pytest.raises(DataError, match="no threshold reaches precision"):
            threshold_for(score, label, precision=precision)
        return
    found = threshold_for(score, label, precision=precision)
    assert np.count_nonzero(score >= found.value) == np.count_nonzero(score >= min(good))
    assert found.reached == pytest.approx(precision_score(label, score >= found.value))
    assert found.reached >= precision


@settings(deadline=None, max_examples=60)
@given(rows(), st.floats(0.01, 1))
def test_threshold_for_recall_is_the_highest_that_reaches_it(data, recall):
    score, label = data
    found = threshold_for(score, label, recall=recall)
    assert recall_score(label, score >= found.value) == pytest.approx(found.reached)
    assert found.reached >= recall
    above = [
        cut for cut in np.unique(score) if np.count_nonzero(score >= cut) < np.count_nonzero(score >= found.value)
    ]
    assert all(recall_score(label, score >= cut) < recall for cut in above)


@pytest.mark.parametrize("given", [{}, {"precision": 0.5, "recall": 0.5}])
def test_one_of_precision_and_recall(given):
    with pytest.raises(ConfigError, match="give one of them"):
        threshold_for([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1], **given)


@settings(deadline=None, max_examples=40)
@given(rows())
def test_best_threshold_does_not_depend_on_the_order_of_rows(data):
    score, label = data
    assert best_threshold(score[::-1], label[::-1]) == best_threshold(score, label)


def test_best_threshold_is_halfway_and_valid_json():
    found = best_threshold([0.0, 1.0, 3.0, 4.0], [0, 0, 1, 1])
    assert (found.value, found.reached) == (2.0, 1.0)
    assert json.loads(json.dumps(asdict(found), allow_nan=False)) == asdict(found)


def test_all_predicted_and_none_predicted_have_a_finite_threshold_outside_the_scores():
    everything = best_threshold([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0])
    assert everything.reached == pytest.approx(2 / 3)
    assert 1 - 1e-5 < everything.value < 1
    nothing = best_threshold([1.0, 2.0, 3.0, 4.0, 5.0], [1, 1, 0, 0, 0], metric="accuracy")
    assert nothing.reached == pytest.approx(3 / 5)
    assert 5 < nothing.value < 5 + 1e-4
    constant = best_threshold([0.5] * 4, [0, 1, 0, 1])
    assert constant.value < 0.5
    assert np.isfinite(best_threshold([-1.7e308, 1.7e308, 1.7e308, -1.7e308], [0, 1, 1, 0]).value)


@pytest.mark.parametrize("low", [0.0, 1.0, -1.0, 5e-324, 1e-310, 123456.789, -1.5e300])
def test_best_threshold_separates_adjacent_floats(low):
    high = np.nextafter(low, np.inf)
    found = best_threshold([low, low, high, high], [0, 0, 1, 1])
    assert found.reached == 1
    assert low < found.value <= high


def test_best_threshold_computes_float32_scores_in_float64():
    score = np.array([0.1, 0.2, 0.7, 0.8], dtype=np.float32)
    assert best_threshold(score, [0, 0, 1, 1]).value == (float(score[1]) + float(score[2])) / 2


def test_unreachable_precision_says_what_can_be_reached():
    with pytest.raises(DataError, match=r"the best is 0\.6667 at threshold .* \(2 of 3 predicted"):
        threshold_for([5.0, 4.0, 3.0, 2.0, 1.0], [0, 1, 1, 0, 0], precision=0.9)


@pytest.mark.parametrize("matches", [7, 53, 93])
def test_a_precision_of_exactly_the_base_rate_is_reached_by_deciding_match_for_every_pair(matches):
    label = np.arange(100) < matches
    for base_rate in (0.3, 0.5, 0.9):
        found = threshold_for(-np.abs(np.arange(100) - 50.0), label, precision=base_rate, base_rate=base_rate)
        assert found.value < -50, (matches, base_rate)


@pytest.mark.parametrize("precision", [0, -0.1, 1.01, float("nan")])
def test_precision_outside_its_range_is_refused(precision):
    with pytest.raises(ConfigError, match=r"not in \(0, 1\]"):
        threshold_for([1, 2, 3, 4], [0, 0, 1, 1], precision=precision)


def test_unknown_metric_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        best_threshold([1, 2, 3, 4], [0, 0, 1, 1], metric="acuracy")


@pytest.mark.scenario("N8")
@pytest.mark.parametrize(
    "label, words",
    [
        ([], r"n=0, positives=0"),
        ([1], r"n=1, positives=1"),
        ([0] * 5, r"n=5, positives=0"),
        ([1] * 5, r"n=5, positives=5"),
        ([0, 0, 0, 0, 1], r"n=5, positives=1"),
    ],
)
def test_thresholds_refuse_too_few_rows(label, words):
    score = np.arange(len(label), dtype=float)
    with pytest.raises(DataError, match=r"not enough data \(" + words):
        best_threshold(score, label)
    with pytest.raises(DataError, match=r"not enough data \(" + words):
        threshold_for(score, label, precision=0.5)


def test_best_threshold_needs_two_rows_of_each_class():
    assert best_threshold([1, 2, 3, 4, 5], [0, 0, 0, 1, 1]).value == 3.5
