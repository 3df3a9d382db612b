"""fit_cascade: bands, one scale of scores, and the largest share for an allowed loss of F1, by loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.errors import ConfigError, DataError
from flipkd.evaluate.calibration import Calibration, fit_calibration
from flipkd.evaluate.cascade import Cascade, fit_cascade
from flipkd.evaluate.metrics import measure

CALIBRATION = Calibration("sigmoid", 2.0, -0.5)


def made(seed: int, n: int = 60):
    random = np.random.default_rng(seed)
    label = random.permutation(np.repeat([0, 1], n // 2))
    return random.normal(size=n) + label, np.round(random.normal(size=n) + 1.5 * label, 1), label


def test_cascade_band_is_half_open():
    band = Cascade(0.0, 1.0, 2.0, 0.5)
    assert band.read([-0.1, 0.0, 0.5, 1.0, np.nan]).tolist() == [False, True, True, False, True]
    assert band.scores([-0.1, 1.0]).tolist() == pytest.approx([0.3, 2.5])
    assert Cascade(None, None, 1.0, 0.0).read([-1e300, 1e300, np.nan]).all()


@pytest.mark.parametrize(
    "fields", [(1.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0), (None, None, 1.0, np.nan), (-np.inf, 1.0, 1.0, 0.0)]
)
def test_cascade_refuses_invalid_fields(fields):
    with pytest.raises(ConfigError):
        Cascade(*fields)


def test_cascade_scores_have_the_probability_of_the_teacher():
    score, teacher, label = made(0)
    band = fit_cascade(teacher, score, label, threshold=0.7, calibration=CALIBRATION, loss=0.1).cascade
    own = fit_calibration(teacher, label, method="sigmoid")
    assert CALIBRATION.apply(band.scores(teacher)) == pytest.approx(own.apply(teacher))
    assert np.all(np.diff(band.scores(np.sort(teacher))) >= 0)


def f1_with(band, teacher, score, label, threshold):
    """F1 of the cascade, pair by pair."""
    hits = called = 0
    for t, own, y in zip(teacher.tolist(), score.tolist(), label.tolist(), strict=True):
        by_teacher = (band.low is not None and t < band.low) or (band.high is not None and t >= band.high)
        match = (band.slope * t + band.intercept if by_teacher else own) >= threshold
        hits, called = hits + (match and y), called + match
    return 2 * hits / (called + label.sum())


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    loss=st.sampled_from([0.0, 0.005, 0.05, 0.5]),
    threshold=st.sampled_from([-0.4, 0.6, 1.2]),
)
def test_fit_cascade_finds_the_widest_band_by_loops(seed, loss, threshold):
    score, teacher, label = made(seed, n=12)
    fit = fit_cascade(teacher, score, label, threshold=threshold, calibration=CALIBRATION, loss=loss)
    least = fit.f1_all_read - loss - 1e-9
    assert fit.f1_all_read == measure(score, label, threshold=threshold)["f1"]
    own = fit_calibration(teacher, label, method="sigmoid")
    slope, intercept = own.slope / 2, (own.intercept + 0.5) / 2
    best = 0.0
    rising = np.unique(teacher)
    cuts = [None, *((rising[1:] + rising[:-1]) / 2).tolist(), float(rising[0]), float(rising[-1]) + 1]
    cut = (threshold - intercept) / slope
    for low, high in product([*cuts, cut], repeat=2):
        if (low is not None and low > cut) or (high is not None and high < cut):
            continue
        band = Cascade(low, high, slope, intercept)
        if f1_with(band, teacher, score, label, threshold) >= least:
            best = max(best, float(np.mean(~band.read(teacher))))
    assert fit.share == pytest.approx(best)
    if fit.cascade is not None:
        assert np.mean(~fit.cascade.read(teacher)) == fit.share
        assert f1_with(fit.cascade, teacher, score, label, threshold) == pytest.approx(fit.f1)
        assert fit.f1 >= least
        assert fit.cascade.low is None or fit.cascade.low <= cut
        assert fit.cascade.high is None or fit.cascade.high >= cut


def test_fit_cascade_of_a_perfect_and_of_a_useless_teacher():
    score, _, label = made(1)
    perfect = fit_cascade(label * 2.0, score, label, threshold=0.6, calibration=CALIBRATION, loss=0)
    assert (perfect.share, perfect.f1) == (1, 1)
    useless = fit_cascade(-label * 1.0, label * 1.0, label, threshold=0.5, calibration=CALIBRATION, loss=0)
    assert (useless.cascade, useless.share, useless.f1) == (None, 0, 1)


def test_fit_cascade_uses_quantiles_for_many_pairs(monkeypatch):
    score, teacher, label = made(2, n=400)
    keep = {"threshold": 0.6, "calibration": CALIBRATION, "loss": 0.01}
    whole = fit_cascade(teacher, score, label, **keep)
    monkeypatch.setattr("flipkd.evaluate.cascade.MOST_BOUNDS", 8)
    some = fit_cascade(teacher, score, label, **keep)
    assert 0 < some.share <= whole.share
    assert some.f1 >= some.f1_all_read - 0.01


def test_fit_cascade_refuses_invalid_inputs():
    score, teacher, label = made(3)
    for loss in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="for example"):
            fit_cascade(teacher, score, label, threshold=0.6, calibration=CALIBRATION, loss=loss)
    with pytest.raises(DataError):
        fit_cascade(teacher[:3], score[:3], [1, 0, 0], threshold=0.6, calibration=CALIBRATION, loss=0.1)
