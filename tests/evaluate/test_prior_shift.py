"""Prior shift: closed form, a world whose truth is known, and the level of the test of equal base rates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from flipkd.errors import DataError
from flipkd.evaluate import best_threshold, expected_calibration_error, fit_calibration, threshold_for
from flipkd.evaluate.calibration import Calibration
from flipkd.evaluate.prior_shift import LEVEL, base_rate_p_value, class_weights, rates_at, shift_calibration


def world(seed, rate, count):
    """Scores and labels: matches are normal around 1, the others around -1, so P(match | s) = sigmoid(2 s + logit(rate))."""
    draw = np.random.default_rng(seed)
    label = (draw.random(count) < rate).astype(int)
    return draw.normal(2 * label - 1, 1.0), label


@given(st.floats(-5, 5), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_shift_calibration_is_bayes_with_the_other_prior(score, fitted, stated):
    calibration = Calibration("temperature", 1.5, 0.0)
    [p] = calibration.apply([score])
    expected = stated / fitted * p / (stated / fitted * p + (1 - stated) / (1 - fitted) * (1 - p))
    [found] = shift_calibration(calibration, fitted=fitted, stated=stated).apply([score])
    assert found == pytest.approx(expected, rel=1e-9)


def test_shift_calibration_recovers_the_known_truth_of_rare_matches():
    score, label = world(0, 0.5, 20_000)
    fitted = fit_calibration(score, label, method="sigmoid")
    shifted = shift_calibration(fitted, fitted=label.mean(), stated=0.03)
    true = 2.0, np.log(0.03 / 0.97)
    assert (shifted.slope, shifted.intercept) == pytest.approx(true, abs=0.12)
    rare, truth = world(1, 0.03, 20_000)
    assert expected_calibration_error(shifted.apply(rare), truth) < 0.005
    assert expected_calibration_error(fitted.apply(rare), truth) > 0.1, "without the correction it is far off"
    assert np.abs(shifted.apply(rare) - expit(2 * rare + true[1])).mean() < 0.005


def test_threshold_for_reaches_its_targets_at_the_stated_base_rate():
    score, label = world(2, 0.5, 20_000)
    rare, truth = world(3, 0.03, 100_000)
    cut = threshold_for(score, label, precision=0.9, base_rate=0.03).value
    assert truth[rare >= cut].mean() == pytest.approx(0.9, abs=0.04)
    naive = threshold_for(score, label, precision=0.9).value
    assert truth[rare >= naive].mean() < 0.4, "without the correction most matches are false"
    assert threshold_for(score, label, recall=0.8, base_rate=0.03) == threshold_for(score, label, recall=0.8)
    rates = rates_at(score, label, threshold=cut, review_threshold=cut - 1, base_rate=0.03)
    assert rates["precision"] == pytest.approx(0.9, abs=0.01)
    assert rates["recall"] == pytest.approx((rare >= cut)[truth == 1].mean(), abs=0.03)
    assert rates["reviewed"] == pytest.approx(((rare >= cut - 1) & (rare < cut)).mean(), abs=0.005)
    with pytest.raises(DataError, match=r"at a base rate of 1e-08"):
        threshold_for(np.append(score, 9), np.append(label, 0), precision=0.9, base_rate=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.95), st.sampled_from(["f1", "accuracy"]))
def test_best_threshold_is_that_of_rows_repeated_to_the_base_rate(seed, rate, metric):
    draw = np.random.default_rng(seed)
    label = np.array([0, 0, 0, 1, 1, 1, *draw.integers(0, 2, 10)])
    score = draw.integers(-3, 4, len(label)).astype(float)
    weight = np.where(label == 1, *class_weights(label, rate))

    def reached(cut):
        hit, miss = (weight * (label == 1) * (score >= cut)).sum(), (weight * (label == 0) * (score >= cut)).sum()
        positives, total = weight[label == 1].sum(), weight.sum()
        return 2 * hit / (hit + miss + positives) if metric == "f1" else (total - positives - miss + hit) / total

    assert weight[label == 1].sum() / weight.sum() == pytest.approx(rate)
    found = best_threshold(score, label, metric=metric, base_rate=rate)
    assert found.reached == pytest.approx(max(map(reached, [*np.unique(score), 9.0])))
    assert reached(found.value) == pytest.approx(found.reached)


@pytest.mark.parametrize("of_pairs", [None, 300])
def test_test_of_base_rates_has_its_level_and_finds_a_clear_difference(of_pairs):
    draw = np.random.default_rng(0)
    rates = draw.binomial(of_pairs, 0.3, 600) / of_pairs if of_pairs else np.full(600, 0.3)
    equal = [
        base_rate_p_value(int(n), 200, rate=r, of_pairs=of_pairs)
        for n, r in zip(draw.binomial(200, 0.3, 600), rates, strict=True)
    ]
    assert np.mean(np.array(equal) < LEVEL) <= 2 * LEVEL
    other = [base_rate_p_value(int(n), 200, rate=0.3, of_pairs=of_pairs) for n in draw.binomial(200, 0.1, 100)]
    assert np.mean(np.array(other) < LEVEL) > 0.95
