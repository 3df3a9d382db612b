"""fit_calibration against scikit-learn, scipy and simulated data, and on degenerate data."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from flipkd.errors import ConfigError, DataError, NumbersError
from flipkd.evaluate import Calibration, expected_calibration_error, fit_calibration

METHODS = ["temperature", "sigmoid"]


def simulated(n=2000, *, slope=0.4, intercept=0.0, seed=0):
    """Simulated scores with P(match) = sigmoid(slope * score + intercept)."""
    generator = np.random.default_rng(seed)
    score = generator.normal(0, 4, n)
    return score, (generator.random(n) < expit(slope * score + intercept)).astype(int)


class GivenScore(ClassifierMixin, BaseEstimator):
    """Classifier whose decision function is its input, as scikit-learn needs it."""

    classes_ = np.array([0, 1])

    def fit(self, rows, label):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def decision_function(self, rows):
        return rows[:, 0]

    def predict(self, rows):
        return (rows[:, 0] > 0).astype(int)


def by_scikit_learn(score, label, method):
    model = CalibratedClassifierCV(FrozenEstimator(GivenScore()), method=method)
    return model.fit(score[:, np.newaxis], label)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5, 8.0])
def test_temperature_recovers_the_true_value(temperature):
    fitted = fit_calibration(*simulated(50_000, slope=1 / temperature))
    assert 1 / fitted.slope == pytest.approx(temperature, rel=0.08)  # standard error 1 %, for temperature 8 2 %
    assert fitted.intercept == 0


def test_fit_calibration_by_sigmoid_recovers_slope_and_intercept():
    fitted = fit_calibration(*simulated(50_000, slope=0.7, intercept=-1.5), method="sigmoid")
    assert (fitted.slope, fitted.intercept) == (pytest.approx(0.7, rel=0.08), pytest.approx(-1.5, rel=0.08))


@pytest.mark.parametrize("seed", range(3))
def test_fit_calibration_by_sigmoid_equals_scikit_learn(seed):
    score, label = simulated(200, intercept=1, seed=seed)
    expected = by_scikit_learn(score, label, "sigmoid").predict_proba(score[:, np.newaxis])[:, 1]
    assert fit_calibration(score, label, method="sigmoid").apply(score) == pytest.approx(expected, abs=1e-4)


def test_temperature_is_close_to_scikit_learn_with_hard_targets():
    score, label = simulated(2000)
    expected = by_scikit_learn(score, label, "temperature").predict_proba(score[:, np.newaxis])[:, 1]
    assert fit_calibration(score, label).apply(score) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_has_the_least_log_loss_against_soft_targets(seed):
    score, label = simulated(50, seed=seed)
    positives, negatives = label.sum(), len(label) - label.sum()
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(log_slope):
        logit = np.exp(log_slope) * score
        return np.mean(np.logaddexp(0, logit) - target * logit)

    best = minimize_scalar(loss, bounds=(-10, 10), method="bounded", options={"xatol": 1e-10})
    assert fit_calibration(score, label).slope == pytest.approx(np.exp(best.x), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_fit_calibration_repairs_overconfident_scores(method):
    score, label = simulated(4000, slope=0.3)
    before = expected_calibration_error(Calibration.identity().apply(score), label)
    fitted = fit_calibration(score[:2000], label[:2000], method=method)
    after = expected_calibration_error(fitted.apply(score[2000:]), label[2000:])
    assert after < 0.04 < 0.1 < before


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.02, 0.98])
def test_fit_calibration_auto_depends_on_the_base_rate(rate):
    generator = np.random.default_rng(1)
    label = (np.arange(5000) < rate * 5000).astype(int)
    score = generator.normal(np.where(label == 1, 2, -2), 1.5)
    fitted = fit_calibration(score, label, method="auto")
    assert fitted.apply(score).mean() == pytest.approx(rate, abs=0.01)
    assert expected_calibration_error(fitted.apply(score), label) < 0.02
    assert fitted == fit_calibration(score, label, method=fitted.method)


@pytest.mark.parametrize("seed", range(5))
def test_auto_chooses_the_method_with_the_lower_held_out_loss(seed):
    score, label = simulated(60, intercept=0.3, seed=seed)
    order = np.random.default_rng(0).permutation(60)
    places = [i for y in (0, 1) for i in order if label[i] == y]
    losses = dict.fromkeys(METHODS, 0.0)
    for method in METHODS:
        for fold in range(5):
            held = [i for place, i in enumerate(places) if place % 5 == fold]
            rest = [i for i in range(60) if i not in held]
            p = fit_calibration(score[rest], label[rest], method=method).apply(score[held])
            losses[method] -= np.log(np.where(label[held] == 1, p, 1 - p)).sum()
    assert fit_calibration(score, label, method="auto").method == min(losses, key=losses.get)


def test_auto_chooses_temperature_without_a_gain_by_the_intercept():
    methods = [fit_calibration(*simulated(300, seed=seed), method="auto").method for seed in range(20)]
    assert methods.count("temperature") > 10


@pytest.mark.parametrize("label", [[0, 0, 1, 1], [0] * 9 + [1, 1], [1] * 3 + [0] * 2])
def test_fit_calibration_auto_needs_no_more_rows(label):
    assert fit_calibration(np.arange(len(label)), label, method="auto").method in METHODS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [2, 5, 500])
def test_fit_calibration_of_separable_rows_is_bounded(method, size):
    score = np.concatenate([np.linspace(-6, -5, size), np.linspace(5, 6, size)])
    fitted = fit_calibration(score, np.repeat([0, 1], size), method=method)
    assert 0.01 < 1 / fitted.slope < 100
    assert fitted.apply([5.5])[0] == pytest.approx(
        (size + 1) / (size + 2), abs=0.02
    )  # as sure as that many rows allow


def test_fit_calibration_works_on_few_or_separable_rows_where_scikit_learn_fails():
    score, label = np.repeat([-5.0, 5.0], 5), np.repeat([0, 1], 5)
    sure = by_scikit_learn(score, label, "temperature").predict_proba(np.array([[5.0]]))[0, 1]
    assert sure > 1 - 1e-12  # certain, on ten rows that happen to be separable
    assert fit_calibration(score, label).apply([5.0])[0] == pytest.approx(6 / 7)
    with pytest.raises(ValueError, match="n_splits=5"):
        by_scikit_learn(score[1:9], label[1:9], "temperature")


@pytest.mark.parametrize("method", METHODS)
def test_reversed_scores_give_an_almost_flat_sigmoid(method):
    score = np.arange(10.0) - 4.5
    label = np.repeat([1, 1, 0], [3, 3, 4])
    fitted = fit_calibration(score, label, method=method)
    probability = fitted.apply(score)
    assert (np.diff(probability) > 0).all()
    expected = 0.5 if method == "temperature" else 0.6 * 7 / 8 + 0.4 * 1 / 6  # the mean of the soft targets
    assert probability == pytest.approx(np.full(10, expected), abs=1e-3)


@pytest.mark.parametrize("constant", [0.0, 0.1, 3.3, -1e4])
@pytest.mark.parametrize("method", METHODS)
def test_constant_scores_give_an_almost_flat_sigmoid(method, constant):
    # the mean of 12 times 0.1 is not 0.1: without care that rounding would pass for a spread
    fitted = fit_calibration([constant] * 12, [0, 1] * 6, method=method)
    around = constant + np.array([-0.01, 0, 0.01])
    assert fitted.apply(around) == pytest.approx([0.5, 0.5, 0.5], abs=1e-4)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e4])
def test_fit_calibration_does_not_depend_on_the_scale_of_the_scores(factor):
    score, label = simulated(300, intercept=0.5)
    for method in METHODS:
        scaled, plain = (fit_calibration(f * score, label, method=method) for f in (factor, 1.0))
        assert scaled.apply(factor * score) == pytest.approx(plain.apply(score), abs=1e-6)


def test_cosines_in_a_narrow_range_are_fitted():
    generator = np.random.default_rng(0)
    score = generator.normal(0.82, 0.01, 3000)
    label = (generator.random(3000) < expit(300 * (score - 0.82))).astype(int)
    fitted = fit_calibration(score, label, method="sigmoid")
    assert fitted.slope == pytest.approx(300, rel=0.1)
    assert -fitted.intercept / fitted.slope == pytest.approx(0.82, abs=0.002)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-1e4, 1e4), st.integers(0, 1)), max_size=20),
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20),
    st.sampled_from(METHODS),
)
def test_calibration_keeps_the_order_and_is_a_probability(rows, fresh, method):
    score, label = zip(*rows, (0.0, 0), (-1.0, 0), (1.0, 1), (0.0, 1), strict=True)
    fitted = fit_calibration(score, label, method=method)
    assert fitted.slope > 0
    probability = fitted.apply(np.sort(fresh))
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (np.diff(probability) >= 0).all()


@pytest.mark.scenario("N3")
def test_calibration_of_extreme_scores_stays_finite():
    probability = Calibration.identity().apply(np.array([-1e308, -1e4, -40, 0, 40, 1e4, 1e308], dtype=np.float64))
    assert np.isfinite(probability).all()
    assert (np.diff(probability) >= 0).all()
    assert (probability[0], probability[3], probability[-1]) == (0, 0.5, 1)
    assert Calibration("temperature", 1e10, 0.0).apply([1e308])[0] == 1


def test_calibration_of_reads_the_fields_of_a_contract():
    fields = {"method": "sigmoid", "slope": 2.0, "intercept": -0.5}
    assert Calibration.of(fields) == Calibration("sigmoid", 2.0, -0.5)
    assert Calibration.of(None) == Calibration.identity()


def test_apply_gives_float64_and_takes_no_rows():
    assert Calibration.identity().apply(np.float32([0.5])).dtype == np.float64
    assert Calibration.identity().apply([]).shape == (0,)
    with pytest.raises(NumbersError, match="scores: 1 of 2 are not finite, the first at index 1"):
        Calibration.identity().apply([0, np.inf])


@pytest.mark.parametrize("method", METHODS)
def test_calibration_fields_survive_json(method):
    fitted = fit_calibration(*simulated(100), method=method)
    assert Calibration(**json.loads(json.dumps(asdict(fitted), allow_nan=False))) == fitted


@pytest.mark.parametrize(
    "fields, words",
    [
        (("temperature", 0.0, 0.0), "slope above 0"),
        (("sigmoid", -1.0, 0.0), "slope above 0"),
        (("sigmoid", float("nan"), 0.0), "finite"),
        (("sigmoid", 1.0, float("inf")), "finite"),
        (("temperature", 1.0, 0.5), "intercept 0"),
        (("platt", 1.0, 0.0), "allowed: temperature, sigmoid"),
    ],
)
def test_calibration_refuses_invalid_fields(fields, words):
    with pytest.raises(ConfigError, match=words):
        Calibration(*fields)


@pytest.mark.scenario("N8")
@pytest.mark.parametrize("label", [[], [1], [0] * 5, [1] * 5, [0, 0, 0, 0, 1], [0, 1, 1, 1, 1]])
@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_fit_calibration_refuses_too_few_rows(label, method):
    with pytest.raises(DataError, match=rf"not enough data \(n={len(label)}, positives={sum(label)}\)"):
        fit_calibration(np.arange(len(label)), label, method=method)


def test_unknown_method_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        fit_calibration([1, 2, 3, 4], [0, 0, 1, 1], method="temprature")
