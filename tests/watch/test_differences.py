"""Tests of differences: closed forms, scipy's own figures, and p values that are right for skewed values."""

import math

import numpy as np
import pytest

from flipkd.watch.differences import (
    calibration_difference,
    distribution_difference,
    mean_difference,
    share_difference,
    stability_index,
)


def test_distribution_difference_is_the_distance_of_the_cumulative_curves():
    found = distribution_difference(np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6]))
    assert (found.reference, found.window, found.effect) == (2.5, 4.5, 0.5)
    same = distribution_difference(np.arange(50.0), np.arange(50.0))
    assert (same.effect, same.p_value) == (0.0, 1.0)


def test_distribution_difference_counts_only_larger_values_where_larger_is_asked():
    low, high = np.arange(50.0), np.arange(50.0) + 20
    assert distribution_difference(low, high, larger=True).p_value < 0.001
    assert distribution_difference(high, low, larger=True).p_value == pytest.approx(1.0)


@pytest.mark.parametrize("larger", [False, True])
def test_distribution_difference_counts_repeated_values_once(larger):
    reference, window = (np.random.default_rng(seed).normal(size=600) for seed in (0, 1))
    once = distribution_difference(reference, window, larger=larger)
    tenfold = distribution_difference(reference.repeat(10), window.repeat(10), larger=larger, sizes=(600.0, 600.0))
    assert tenfold.effect == once.effect
    assert tenfold.p_value == pytest.approx(once.p_value, abs=0.03)
    assert distribution_difference(reference.repeat(10), window.repeat(10), larger=larger).p_value < 0.01


def test_the_stability_index_is_the_sum_over_bins():
    reference, window = np.arange(100.0), np.concatenate([np.arange(50.0), np.arange(25.0), np.arange(25.0)])
    found = stability_index(reference, window)
    edges = np.quantile(reference, np.linspace(0, 1, 11)[1:-1])
    counts = np.array([np.bincount(np.searchsorted(edges, sample), minlength=10) for sample in (reference, window)])
    p, q = ((row + 0.5) / (row + 0.5).sum() for row in counts)
    assert found.effect == pytest.approx(sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True)))
    assert found.p_value < 1e-6
    assert (found.reference, found.window) == (0.5, 0.0)


def test_the_stability_index_of_equal_scores_is_zero():
    found = stability_index(np.ones(40), np.ones(40))
    assert (found.effect, found.p_value) == (0.0, 1.0)


def test_share_difference_is_by_the_exact_test():
    found = share_difference(np.array([True, False, False, False]), np.array([True, True, True, True]))
    assert (found.reference, found.window, found.effect) == (0.25, 1.0, 0.75)
    assert found.p_value == pytest.approx(2 * 5 / math.comb(8, 4))


def test_mean_difference_of_skewed_values_is_by_permutation():
    generator = np.random.default_rng(0)
    p_values = []
    for _ in range(40):
        reference, window = (generator.random(size) ** 8 for size in (400, 30))
        p_values.append(mean_difference(reference, window, resamples=199).p_value)
    assert np.mean(np.array(p_values) <= 0.1) <= 0.22
    assert mean_difference(np.zeros(30), np.ones(30), resamples=999).p_value == pytest.approx(2 / 1000)
    assert mean_difference(np.ones(30), np.ones(30), resamples=999).p_value == 1.0


def test_calibration_difference_compares_labels_with_those_that_the_probabilities_draw():
    probability = np.full(4, 0.5)
    found = calibration_difference(probability, np.ones(4, np.int64), np.ones(4), resamples=4000)
    assert (found.window, found.effect) == (0.5, 0.5)
    assert found.p_value == pytest.approx(2 / 16, abs=0.02)  # all labels alike, 1 or 0


def test_many_labels_have_the_p_value_of_the_normal_distribution(monkeypatch):
    generator = np.random.default_rng(0)
    probability = generator.random(900)
    label, weight = (generator.random(900) < probability * 0.97 + 0.01).astype(np.int64), 1 - 2 * probability
    drawn = calibration_difference(probability, label, weight, resamples=4000)
    monkeypatch.setattr("flipkd.watch.differences.MANY_ROWS", 900)
    computed = calibration_difference(probability, label, weight)
    assert computed.effect == drawn.effect
    assert computed.p_value == pytest.approx(drawn.p_value, abs=0.03)


def test_mean_difference_of_many_values_is_by_the_t_test(monkeypatch):
    generator = np.random.default_rng(0)
    reference, window = generator.normal(size=300), generator.normal(0.15, size=300)
    drawn = mean_difference(reference, window, resamples=1999)
    monkeypatch.setattr("flipkd.watch.differences.MANY_ROWS", 300)
    assert mean_difference(reference, window).p_value == pytest.approx(drawn.p_value, abs=0.03)
