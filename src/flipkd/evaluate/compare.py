"""Is the difference real: paired bootstrap of two systems on the same pairs, Student's interval over several seeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError, DataError, nearest, shorten
from flipkd.evaluate.thresholds import checked_rows, finite_column

METRICS = ["f1", "accuracy", "average_precision"]
LEAST_RESAMPLES = 100  # below, a 2.5 % tail is a guess
BLOCK = 2_000_000  # numbers held at once while resampling rows: 16 MB each


def paired_bootstrap(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    *,
    threshold_a: float | None = None,
    threshold_b: float | None = None,
    metric: str = "f1",
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Metric of system a minus that of b on the same rows, with its 95 % interval and two-sided p value.

    scores_a, scores_b, labels: [N]; metric: "f1" or "accuracy" (both need the two thresholds, fitted elsewhere) or
    "average_precision" (reads none). Returns a, b, difference, low, high (2.5 and 97.5 % percentiles), p_value and
    resamples. p = 2 (1 + resamples on the rarer side of 0) / (1 + resamples), at most 1: it turns the percentile
    interval round, below 0.05 where that leaves 0 out (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
    A resample without a positive row, where F1 and AP are undefined, is left out and not counted in `resamples`.
    Swapping a and b flips the signs. Raises DataError and NumbersError as `measure` does, ConfigError for an unknown
    metric, a missing threshold or fewer than 100 resamples.
    """
    if metric not in METRICS:
        raise ConfigError(f"no comparison is made by metric {shorten(metric)}; {nearest(str(metric), METRICS)}")
    if resamples < LEAST_RESAMPLES:
        raise ConfigError(f"resamples is {resamples}, must be at least {LEAST_RESAMPLES}")
    score_a, label = checked_rows(scores_a, labels)
    score_b, _ = checked_rows(scores_b, labels)
    generator = np.random.default_rng(seed)
    if metric == "average_precision":
        observed, drawn = _draw_rows(score_a, score_b, label, resamples=resamples, generator=generator)
    else:
        if threshold_a is None or threshold_b is None or not np.isfinite([threshold_a, threshold_b]).all():
            raise ConfigError(f"metric {metric} needs two finite thresholds, got {threshold_a} and {threshold_b}")
        decided = score_a >= threshold_a, score_b >= threshold_b
        observed, drawn = _draw_outcomes(*decided, label, metric=metric, resamples=resamples, generator=generator)
    return _summary(observed, drawn[np.isfinite(drawn).all(axis=1)])


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> dict[str, float]:
    """Mean of one number per seed with its Student's t interval: mean, low, high, sd (of a sample), n.

    Raises DataError with fewer than 2 values (one seed has no spread), ConfigError for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence {confidence} is not in (0, 1)")
    value = finite_column(values, what="values")
    n = len(value)
    if n < 2:
        raise DataError(f"not enough data (n={n}): an interval over seeds needs at least 2 of them")
    from scipy.special import stdtrit

    mean, sd = float(value.mean()), float(value.std(ddof=1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / n**0.5
    return {"mean": mean, "low": mean - half, "high": mean + half, "sd": sd, "n": n}


def _summary(observed: NDArray[np.float64], drawn: NDArray[np.float64]) -> dict[str, float]:
    """Values of a and b on the rows [2] and on the resamples [R, 2] -> difference, percentile interval, p value."""
    differences = drawn[:, 0] - drawn[:, 1]
    low, high = np.quantile(differences, [0.025, 0.975])
    rarer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return {
        "a": float(observed[0]),
        "b": float(observed[1]),
        "difference": float(observed[0] - observed[1]),
        "low": float(low),
        "high": float(high),
        "p_value": min(1.0, float(2 * (1 + rarer) / (1 + len(differences)))),
        "resamples": len(differences),
    }


def _draw_outcomes(
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    label: NDArray[np.int64],
    *,
    metric: str,
    resamples: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Metric of both systems: on the rows [2], on the resamples [R, 2].

    Of a row F1 and accuracy see only label and the two decisions: drawing eight counts replaces drawing rows.
    """
    first = int(np.argmax(a != b))
    if b[first] and not a[first]:  # the draws depend on the order of the counts: one order for (a, b) and (b, a)
        observed, drawn = _draw_outcomes(b, a, label, metric=metric, resamples=resamples, generator=generator)
        return observed[::-1], drawn[:, ::-1]
    counts = np.bincount(4 * label + 2 * a + b, minlength=8)
    resampled = generator.multinomial(len(label), counts / len(label), size=resamples)
    values = _metric_of_counts(np.concatenate([counts[np.newaxis], resampled]), metric=metric)
    return values[0], values[1:]


def _metric_of_counts(counts: NDArray[np.int64], *, metric: str) -> NDArray[np.float64]:
    """[R, 8] counts by (label, a, b) -> [R, 2] values of a and of b; F1 is NaN where no row is positive."""
    cells = counts.reshape(-1, 2, 2, 2)
    n = cells.sum(axis=(1, 2, 3))[:, np.newaxis]
    positives = cells[:, 1].sum(axis=(1, 2))[:, np.newaxis]
    matches = np.stack([cells[:, :, 1, :].sum(axis=(1, 2)), cells[:, :, :, 1].sum(axis=(1, 2))], axis=1)
    hits = np.stack([cells[:, 1, 1, :].sum(axis=1), cells[:, 1, :, 1].sum(axis=1)], axis=1)
    if metric == "accuracy":
        return np.asarray((n - matches - positives + 2 * hits) / n)
    return np.where(positives > 0, 2 * hits / np.maximum(matches + positives, 1), np.nan)


def _draw_rows(
    score_a: NDArray[np.float64],
    score_b: NDArray[np.float64],
    label: NDArray[np.int64],
    *,
    resamples: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average precision of both systems: on the rows [2], on the resamples [R, 2]; memory is bounded by BLOCK."""
    n = len(label)

    def both(times: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.stack([_average_precision(score, label, times) for score in (score_a, score_b)], axis=1)

    drawn = []
    for start in range(0, resamples, size := max(1, BLOCK // n)):
        rows = min(size, resamples - start)
        drawn.append(both(generator.multinomial(n, np.full(n, 1 / n), size=rows)))
    return both(np.ones((1, n), dtype=np.int64))[0], np.concatenate(drawn)


def _average_precision(
    score: NDArray[np.float64], label: NDArray[np.int64], times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Average precision [R] when row i counts times[r, i] times; equal scores enter together, as in scikit-learn."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    times = times[:, order]
    seen = times.cumsum(axis=1)[:, ends]
    hits = (times * label[order]).cumsum(axis=1)[:, ends]
    gained = np.diff(hits, axis=1, prepend=0)
    total = hits[:, -1]
    area = (gained * hits / np.maximum(seen, 1)).sum(axis=1) / np.maximum(total, 1)
    return np.where(total > 0, area, np.nan)
