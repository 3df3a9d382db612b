"""paired_bootstrap against loops and scikit-learn; mean_interval and holm against tables and simulation."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from flipkd.errors import ConfigError, DataError, NumbersError
from flipkd.evaluate import holm, mean_interval, paired_bootstrap, paired_means
from flipkd.evaluate.compare import _average_precision, _metric_of_counts

METRICS = ["f1", "accuracy", "average_precision"]
CUTS = {"threshold_a": 0.5, "threshold_b": 0.5}


def systems(n=300, *, a=1.5, b=0.5, seed=0):
    """Two systems whose scores are noise plus a or b times the label."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, n)
    label[:2] = [0, 1]
    return generator.normal(size=n) + a * label, generator.normal(size=n) + b * label, label


def value(score, label, metric):
    if metric == "average_precision":
        return average_precision_score(label, score)
    return {"f1": f1_score, "accuracy": accuracy_score}[metric](label, score >= 0.5)


def quick_value(score, label, metric):
    """As `value`, for loops: scikit-learn checks its arguments for a millisecond."""
    if metric == "average_precision":
        return average_precision_score(label, score)
    found = score >= 0.5
    return (
        2 * (found & (label == 1)).sum() / (found.sum() + label.sum()) if metric == "f1" else (found == label).mean()
    )


@pytest.mark.parametrize("metric", METRICS)
def test_paired_bootstrap_values_agree_with_scikit_learn(metric):
    a, b, label = systems()
    found = paired_bootstrap(a, b, label, metric=metric, resamples=200, **CUTS)
    assert found["a"] == pytest.approx(value(a, label, metric))
    assert found["b"] == pytest.approx(value(b, label, metric))
    assert found["difference"] == pytest.approx(found["a"] - found["b"])
    assert found["low"] < found["difference"] < found["high"]
    assert found["resamples"] == 200


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_paired_bootstrap_interval_agrees_with_a_loop(metric):
    a, b, label = systems(80, a=1.0, b=0.7)
    generator = np.random.default_rng(5)
    differences = []
    for _ in range(600):
        rows = generator.integers(0, len(label), len(label))
        differences.append(quick_value(a[rows], label[rows], metric) - quick_value(b[rows], label[rows], metric))
    low, high = np.quantile(differences, [0.025, 0.975])
    found = paired_bootstrap(a, b, label, metric=metric, resamples=4000, **CUTS)
    width = high - low
    assert found["low"] == pytest.approx(low, abs=0.15 * width)
    assert found["high"] == pytest.approx(high, abs=0.15 * width)


@pytest.mark.parametrize("metric", METRICS)
def test_paired_bootstrap_of_different_systems_has_a_small_p_value(metric):
    a, b, label = systems(400, a=3.0, b=0.0)
    found = paired_bootstrap(a, b, label, metric=metric, resamples=1000, **CUTS)
    assert found["p_value"] == pytest.approx(2 / 1001)
    assert found["low"] > 0


@pytest.mark.parametrize("metric", METRICS)
def test_paired_bootstrap_of_identical_systems_has_p_value_1(metric):
    a, _, label = systems()
    found = paired_bootstrap(a, a, label, metric=metric, resamples=500, **CUTS)
    assert (found["difference"], found["low"], found["high"], found["p_value"]) == (0, 0, 0, 1)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 1)), max_size=15),
    st.sampled_from(METRICS),
)
def test_paired_bootstrap_of_swapped_systems_has_other_signs(rows, metric):
    a, b, label = zip(*rows, (1, 0, 0), (0, 1, 1), strict=True)
    knobs = {"metric": metric, "resamples": 150}
    there = paired_bootstrap(a, b, label, threshold_a=0.5, threshold_b=1.5, **knobs)
    back = paired_bootstrap(b, a, label, threshold_a=1.5, threshold_b=0.5, **knobs)
    assert back["difference"] == pytest.approx(-there["difference"], abs=1e-12)
    assert back["low"] == pytest.approx(-there["high"], abs=1e-12)
    assert back["high"] == pytest.approx(-there["low"], abs=1e-12)
    assert back["p_value"] == there["p_value"]
    assert (back["a"], back["b"]) == (there["b"], there["a"])


def seeds_of(count=3, n=120, *, a=1.3, b=0.7):
    """Scores [S, N] of two systems with different noise per seed, and the labels."""
    generator = np.random.default_rng(7)
    label = generator.integers(0, 2, n)
    return generator.normal(size=(count, n)) + a * label, generator.normal(size=(count, n)) + b * label, label


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_several_seeds_are_averaged_on_the_same_rows_as_a_loop_does(metric):
    a, b, label = seeds_of(2)
    generator = np.random.default_rng(5)
    differences = []
    for _ in range(400):
        rows = generator.integers(0, len(label), len(label))
        means = [np.mean([quick_value(s[rows], label[rows], metric) for s in scores]) for scores in (a, b)]
        differences.append(means[0] - means[1])
    low, high = np.quantile(differences, [0.025, 0.975])
    found = paired_bootstrap(a, b, label, metric=metric, resamples=2000, **CUTS)
    assert found["a"] == pytest.approx(np.mean([value(s, label, metric) for s in a]))
    assert found["b"] == pytest.approx(np.mean([value(s, label, metric) for s in b]))
    assert found["low"] == pytest.approx(low, abs=0.2 * (high - low))
    assert found["high"] == pytest.approx(high, abs=0.2 * (high - low))


@pytest.mark.parametrize("metric", METRICS)
def test_several_seeds_swapped_flip_the_signs_and_one_seed_is_the_plain_call(metric):
    a, b, label = seeds_of()
    cuts = {"threshold_a": [0.5, 0.6, 0.7], "threshold_b": 0.4}
    there = paired_bootstrap(a, b, label, metric=metric, resamples=200, **cuts)
    back = paired_bootstrap(b, a, label, metric=metric, resamples=200, threshold_a=0.4, threshold_b=[0.5, 0.6, 0.7])
    assert back["difference"] == pytest.approx(-there["difference"])
    assert (back["low"], back["p_value"]) == (pytest.approx(-there["high"]), there["p_value"])
    one = paired_bootstrap(a[:1], b[:1], label, metric=metric, resamples=200, threshold_a=[0.5], threshold_b=[0.5])
    assert one == paired_bootstrap(a[0], b[0], label, metric=metric, resamples=200, **CUTS)


def test_seeds_and_thresholds_that_do_not_fit_are_refused():
    a, b, label = seeds_of()
    with pytest.raises(DataError, match="scores of 3 and of 2 seeds"):
        paired_bootstrap(a, b[:2], label, **CUTS)
    with pytest.raises(DataError, match="no scores"):
        paired_bootstrap(a[:0], b[:0], label, **CUTS)
    with pytest.raises(ConfigError, match=r"one per seed \(3\) of each; got \[0\.5, 0\.5\]"):
        paired_bootstrap(a, b, label, threshold_a=[0.5, 0.5], threshold_b=0.5)


def test_paired_bootstrap_depends_only_on_the_seed():
    a, b, label = systems(60)
    first, again, other = (paired_bootstrap(a, b, label, seed=seed, resamples=500, **CUTS) for seed in (1, 1, 2))
    assert first == again
    assert first["low"] != other["low"]


def test_paired_bootstrap_interval_covers_the_true_difference():
    # accuracy of noise + 1.5 label cut at 0.75 is Phi(0.75) whatever the class: both systems are equal in truth
    covered = rejected = 0
    for seed in range(200):
        a, b, label = systems(200, a=1.5, b=1.5, seed=seed)
        found = paired_bootstrap(
            a, b, label, threshold_a=0.75, threshold_b=0.75, metric="accuracy", resamples=400, seed=seed
        )
        covered += found["low"] <= 0 <= found["high"]
        rejected += found["p_value"] < 0.05
    assert 178 <= covered <= 199  # 95 % of 200 is 190, sd 3.1
    assert rejected <= 22


@pytest.mark.parametrize("resamples", [100, 119, 120, 1000])
def test_the_interval_excludes_0_exactly_where_the_p_value_is_below_5_percent(resamples):
    generator, excluded = np.random.default_rng(0), 0
    for seed in range(150):
        values = generator.normal(0.25, 1, 60)
        found = paired_means(values, np.zeros(60), resamples=resamples, seed=seed)
        assert (found["low"] > 0 or found["high"] < 0) == (found["p_value"] < 0.05)
        excluded += found["p_value"] < 0.05
    assert 30 < excluded < 120


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20))
def test_metrics_of_counts_agree_with_scikit_learn(rows):
    label, a, b = (np.array(column) for column in zip(*rows, strict=True))
    once, decided = np.ones((1, len(rows)), dtype=int), np.array([[a], [b]])
    expected = [accuracy_score(label, a), accuracy_score(label, b)]
    assert _metric_of_counts(once, label, decided, metric="accuracy")[0] == pytest.approx(expected)
    found = _metric_of_counts(once, label, decided, metric="f1")[0]
    if label.any():
        assert found == pytest.approx([f1_score(label, a), f1_score(label, b)])
    else:
        assert np.isnan(found).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1), st.integers(0, 3)), max_size=20))
def test_weighted_average_precision_agrees_with_repeated_rows(rows):
    score, label, times = (np.array(column) for column in zip(*rows, (0, 1, 1), (1, 0, 1), strict=True))
    expected = average_precision_score(np.repeat(label, times), np.repeat(score, times))
    assert _average_precision(score.astype(float), label)(times[np.newaxis])[0] == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS)
def test_resamples_without_a_positive_row_are_ignored(metric):
    found = paired_bootstrap([4, 1, 2, 3, 0], [0, 1, 2, 3, 4], [1, 0, 0, 0, 0], metric=metric, resamples=2000, **CUTS)
    assert np.isfinite(list(found.values())).all()
    if metric == "accuracy":
        assert found["resamples"] == 2000
    else:
        assert found["resamples"] == pytest.approx(2000 * (1 - 0.8**5), rel=0.06)


def test_paired_bootstrap_of_ten_thousand_resamples_of_two_thousand_rows_takes_less_than_a_second():
    a, b, label = systems(2000)
    start = time.process_time()
    for metric in ("f1", "accuracy"):
        paired_bootstrap(a, b, label, metric=metric, **CUTS)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("label", [[], [1], [0] * 5, [1] * 5])
@pytest.mark.parametrize("metric", METRICS)
def test_paired_bootstrap_refuses_one_class(label, metric):
    score = np.arange(len(label))
    with pytest.raises(DataError, match=f"needs both classes: n={len(label)}, positives={sum(label)}"):
        paired_bootstrap(score, score, label, metric=metric, **CUTS)


def test_paired_bootstrap_refuses_wrong_settings_and_numbers():
    a, b, label = systems(10)
    with pytest.raises(ConfigError, match="allowed: f1, accuracy, average_precision"):
        paired_bootstrap(a, b, label, metric="auc", **CUTS)
    with pytest.raises(ConfigError, match=r"needs two finite thresholds.*; got None"):
        paired_bootstrap(a, b, label, threshold_a=0.5)
    with pytest.raises(ConfigError, match="needs two finite thresholds"):
        paired_bootstrap(a, b, label, threshold_a=0.5, threshold_b=float("nan"))
    with pytest.raises(ConfigError, match="resamples is 1"):
        paired_bootstrap(a, b, label, resamples=1, **CUTS)
    with pytest.raises(NumbersError, match="the first at index 0"):
        paired_bootstrap(a, b * np.nan, label, **CUTS)
    with pytest.raises(DataError, match="shape"):
        paired_bootstrap(a, b[:5], label, **CUTS)


def test_mean_interval_by_hand():
    found = mean_interval([0.70, 0.72, 0.74])
    half = 4.302653 * 0.02 / 3**0.5  # t table: 97.5 %, 2 degrees of freedom
    assert found == {
        "mean": pytest.approx(0.72),
        "low": pytest.approx(0.72 - half),
        "high": pytest.approx(0.72 + half),
        "sd": pytest.approx(0.02),
        "n": 3,
    }


def test_mean_interval_covers_the_truth():
    samples = np.random.default_rng(0).normal(3, 2, (1000, 5))
    covered = sum(found["low"] <= 3 <= found["high"] for found in map(mean_interval, samples))
    assert covered == pytest.approx(950, abs=25)


@pytest.mark.parametrize("values", [[], [0.7]])
def test_mean_interval_needs_two_values(values):
    with pytest.raises(DataError, match=rf"not enough data \(n={len(values)}\)"):
        mean_interval(values)


def test_mean_interval_refuses_nan():
    with pytest.raises(NumbersError, match="values: 1 of 2"):
        mean_interval([0.5, np.nan])


def test_holm_by_hand():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2 (not below the one before), 0.9 x 1
    assert holm([0.9, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.9, 0.04, 0.06, 0.06])
    assert holm([0.4, 0.6]).tolist() == pytest.approx([0.8, 0.8])
    assert holm([0.7, 0.7]).tolist() == [1, 1]
    assert (holm([0.03]).tolist(), holm([]).tolist()) == ([0.03], [])


def test_holm_has_five_percent_false_positives():
    noise = np.random.default_rng(0).uniform(size=(4000, 6))
    assert np.mean([holm(row).min() < 0.05 for row in noise]) == pytest.approx(0.05, abs=0.01)
    assert np.mean(noise.min(axis=1) < 0.05) > 0.2, "what it is for"
