"""measure against scikit-learn and values computed by hand; invariances."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

import flipkd.evaluate
from flipkd.errors import ConfigError, DataError, NumbersError
from flipkd.evaluate import best_threshold, expected_calibration_error, measure


def simulated(n=200, seed=0):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, n)
    label[:4] = [0, 0, 1, 1]
    return np.round(generator.normal(size=n) + label, 1), label  # rounded: ties


@pytest.mark.parametrize("threshold", [-9.0, 0.0, 0.5, 1.3])
def test_measure_agrees_with_scikit_learn(threshold):
    score, label = simulated()
    probability = 1 / (1 + np.exp(-score))
    found = measure(score, label, threshold=threshold, probabilities=probability)
    decided = score >= threshold
    assert found == {
        "n": 200,
        "positives": label.sum(),
        "threshold": threshold,
        "f1": pytest.approx(metrics.f1_score(label, decided)),
        "precision": pytest.approx(metrics.precision_score(label, decided)),
        "recall": pytest.approx(metrics.recall_score(label, decided)),
        "accuracy": pytest.approx(metrics.accuracy_score(label, decided)),
        "average_precision": pytest.approx(metrics.average_precision_score(label, score)),
        "roc_auc": pytest.approx(metrics.roc_auc_score(label, score)),
        "brier_score": pytest.approx(np.mean((probability - label) ** 2)),
        "log_loss": pytest.approx(-np.mean(np.log(np.where(label == 1, probability, 1 - probability)))),
        "ece": pytest.approx(ece_by_loop(probability, label, 10)),
    }
    json.dumps(found, allow_nan=False)


def ece_by_loop(probability, label, bins):
    error = 0.0
    for k in range(bins):
        inside = [i for i, p in enumerate(probability) if k / bins <= p < (k + 1) / bins or (k == bins - 1 and p == 1)]
        if inside:
            error += len(inside) * abs(np.mean(probability[inside]) - np.mean(label[inside]))
    return error / len(label)


def test_without_a_threshold_the_f1_best_one_is_used_and_returned():
    score, label = simulated()
    found, fitted = measure(score, label), best_threshold(score, label)
    assert (found["threshold"], found["f1"]) == (fitted.value, pytest.approx(fitted.reached))
    assert not {"ece", "brier_score", "log_loss"} & set(found)


def test_measure_takes_a_score_equal_to_the_threshold_as_a_match():
    assert measure([1.0, 2.0], [0, 1], threshold=2.0)["accuracy"] == 1
    assert measure([1.0, 2.0], [0, 1], threshold=1.0)["accuracy"] == 0.5


def test_measure_gives_zeros_and_not_nan_where_nothing_is_predicted():
    found = measure([1.0, 2.0], [0, 1], threshold=3.0)
    assert (found["precision"], found["recall"], found["f1"], found["accuracy"]) == (0, 0, 0, 0.5)


def test_measure_of_five_rows_by_hand():
    found = measure([0.9, 0.8, 0.4, 0.3, 0.1], [1, 0, 1, 0, 0], threshold=0.35)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 1
    assert found["f1"] == pytest.approx(0.8)
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["roc_auc"] == pytest.approx(5 / 6)


def test_expected_calibration_error_and_brier_score_by_hand():
    probability, label = [0.1, 0.2, 0.7, 0.9], [0, 1, 1, 1]
    # two bins: |0.15 - 0.5| on two rows, |0.8 - 1| on two rows
    assert expected_calibration_error(probability, label, bins=2) == pytest.approx((0.35 * 2 + 0.2 * 2) / 4)
    found = measure(probability, label, threshold=0.5, probabilities=probability)
    assert found["brier_score"] == pytest.approx((0.01 + 0.64 + 0.09 + 0.01) / 4)


def test_expected_calibration_error_puts_edges_into_the_upper_bin_and_1_into_the_last():
    # 0.5 lies in the upper of two bins, with 1.0: their mean 0.75 against 1 of 2 matches
    assert expected_calibration_error([0.5, 1.0], [0, 1], bins=2) == pytest.approx(0.25)
    assert expected_calibration_error([1.0, 0.0], [1, 0]) == 0
    assert expected_calibration_error([1.0, 1.0], [0, 0]) == 1


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=30), st.integers(1, 20))
def test_expected_calibration_error_is_a_share_and_equals_loops(rows, bins):
    probability, label = (np.array(column) for column in zip(*rows, strict=True))
    assert 0 <= expected_calibration_error(probability, label, bins=bins) <= 1 + 1e-12
    off = np.abs(probability * bins - np.round(probability * bins)) > 1e-9
    if off.any():
        expected = ece_by_loop(probability[off], label[off], bins)
        assert expected_calibration_error(probability[off], label[off], bins=bins) == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 1)), min_size=1, max_size=30),
    st.sampled_from([lambda s: 3 * s - 7, np.arctan, lambda s: s**3, lambda s: np.exp(s / 10)]),
)
def test_increasing_transforms_do_not_change_ranking_metrics(rows, transform):
    score, label = (np.array(column, dtype=float) for column in zip(*rows, (0, 0), (1, 1), strict=True))
    before, after = measure(score, label, threshold=0.0), measure(transform(score), label, threshold=0.0)
    assert after["roc_auc"] == pytest.approx(before["roc_auc"])
    assert after["average_precision"] == pytest.approx(before["average_precision"])


def test_measure_compares_float32_scores_in_float64():
    score, label = simulated()
    probability = (1 / (1 + np.exp(-score))).astype(np.float32)
    single = measure(score.astype(np.float32), label, threshold=0.55, probabilities=probability)
    double = measure(
        score.astype(np.float32).astype(float), label, threshold=0.55, probabilities=probability.astype(float)
    )
    assert single == double


@pytest.mark.scenario("D9")
@pytest.mark.parametrize("label", [[], [1], [0], [0] * 5, [1] * 5])
def test_measure_refuses_empty_and_one_class_input(label):
    with pytest.raises(DataError, match=f"needs both classes: n={len(label)}, positives={sum(label)}"):
        measure(np.arange(len(label)), label, threshold=0.0)


def test_measure_refuses_nan_and_infinity():
    with pytest.raises(NumbersError, match="scores: 1 of 2 are not finite, the first at index 1"):
        measure([0.0, np.nan], [0, 1], threshold=0.0)
    with pytest.raises(NumbersError, match="probabilities: 1 of 2 are not finite, the first at index 0"):
        measure([0.0, 1.0], [0, 1], threshold=0.0, probabilities=[np.nan, 1.0])
    with pytest.raises(NumbersError, match=r"probabilities: 1 of 2 are outside \[0, 1\], the first at index 1"):
        measure([0.0, 1.0], [0, 1], threshold=0.0, probabilities=[0.0, 1.5])
    with pytest.raises(ConfigError, match="threshold nan is not finite"):
        measure([0.0, 1.0], [0, 1], threshold=float("nan"))
    with pytest.raises(DataError, match="labels have the shape"):
        measure([0.0, 1.0], [0, 1], threshold=0.0, probabilities=[0.5])


def test_expected_calibration_error_refuses_no_rows_and_no_bins():
    with pytest.raises(DataError, match="no rows"):
        expected_calibration_error([], [])
    with pytest.raises(ConfigError, match="bins is 0"):
        expected_calibration_error([0.5], [1], bins=0)


def test_measure_has_a_finite_log_loss_for_a_certain_error():
    found = measure([0.0, 1.0], [0, 1], threshold=0.5, probabilities=[1.0, 0.0])
    assert 30 < found["log_loss"] < 40
    assert (found["brier_score"], found["ece"]) == (1, 1)


def test_import_of_evaluate_loads_no_scikit_learn():
    code = (
        "import sys, flipkd.evaluate; flipkd.evaluate.Calibration.identity(); "
        "sys.exit(bool({'sklearn', 'scipy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_of_evaluate_are_those_of_its_modules():
    assert len(set(flipkd.evaluate.__all__)) == len(flipkd.evaluate.__all__)
    for name in flipkd.evaluate.__all__:
        assert getattr(flipkd.evaluate, name).__module__.startswith("flipkd.evaluate.")
