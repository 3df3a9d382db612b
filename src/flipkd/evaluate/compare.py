"""Significance of differences: paired bootstrap of two systems on the same pairs, Holm's correction for several
differences, Student's interval over several seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flipkd.errors import ConfigError, DataError, nearest, shorten
from flipkd.evaluate.rows import checked_rows, finite_column

METRICS = ["f1", "accuracy", "average_precision"]
LEAST_RESAMPLES = 100  # with fewer, a 2.5 % tail is a guess
BLOCK = 2_000_000  # numbers in memory at once while resampling: 16 MB each


def paired_bootstrap(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    *,
    threshold_a: ArrayLike | None = None,
    threshold_b: ArrayLike | None = None,
    metric: str = "f1",
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Compare system a with b on the same rows: difference of a metric, 95 % interval and two-sided p value.

    scores_a, scores_b: [N], or [S, N] for S seeds, whose metrics are averaged on the same resampled rows; labels: [N].
    metric: "f1" or "accuracy" (both need the two thresholds, a number or [S], fitted elsewhere) or "average_precision"
    (reads none). Returns a, b, difference, low, high (2.5 and 97.5 % percentiles), p_value and resamples.
    p = 2 (1 + resamples on the rarer side of 0) / (1 + resamples), at most 1: the inverse of the percentile
    interval, below 0.05 if the interval excludes 0 (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
    A resample without a positive row, for which F1 and AP are undefined, is ignored and not counted in `resamples`.
    Swapping a and b changes the signs. Raises DataError and NumbersError as `measure` does, ConfigError for an unknown
    metric, a missing threshold or fewer than 100 resamples.
    """
    if metric not in METRICS:
        raise ConfigError(f"unknown metric {shorten(metric)}; {nearest(str(metric), METRICS)}")
    if resamples < LEAST_RESAMPLES:
        raise ConfigError(f"resamples is {resamples}, must be at least {LEAST_RESAMPLES}")
    score_a, score_b, label = _checked_systems(scores_a, scores_b, labels)
    if metric == "average_precision":
        systems = [
            [_resampled_precision(score.tobytes(), label.tobytes(), resamples, seed) for score in scores]
            for scores in (score_a, score_b)
        ]
        both = np.mean(systems, axis=1).T
        observed, drawn = both[0], both[1:]
    else:
        decided = _decided(score_a, threshold_a, metric), _decided(score_b, threshold_b, metric)
        observed, drawn = _draw_outcomes(*decided, label, metric=metric, resamples=resamples, seed=seed)
    return _summary(observed, drawn[np.isfinite(drawn).all(axis=1)])


def paired_means(
    values_a: ArrayLike, values_b: ArrayLike, *, resamples: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """Compare the means of two systems whose value of each query or row is known, [N] each, by a paired bootstrap.

    Returns and errors as in `paired_bootstrap`.
    """
    both = np.stack([finite_column(values_a, what="values"), finite_column(values_b, what="values")], axis=1)
    counts = np.ones(len(both), dtype=np.int64)
    return _summary(*_drawn(counts, lambda times: times @ both / len(both), resamples=resamples, seed=seed))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p values [m] for m tests: if no difference is real, the chance of any value below 0.05 is at most 5 %.

    The smallest is multiplied by m, the next by m - 1 and so on; values are then made non-decreasing and at most 1 (Holm,
    Scandinavian Journal of Statistics 6, 1979). Raises DataError unless the input is a column of numbers.
    """
    value = finite_column(p_values, what="p values")
    order = np.argsort(value, kind="stable")
    found = np.empty_like(value)
    found[order] = np.minimum(np.maximum.accumulate(value[order] * np.arange(len(value), 0, -1)), 1)
    return found


def mean_interval(values: ArrayLike) -> dict[str, float]:
    """Compute the mean of one number per seed with Student's 95 % t interval: mean, low, high, sd (of a sample), n.

    Raises DataError with fewer than 2 values: one seed has no variance.
    """
    value = finite_column(values, what="values")
    n = len(value)
    if n < 2:
        raise DataError(f"not enough data (n={n}): an interval over seeds needs at least 2 of them")
    from scipy.special import stdtrit

    mean, sd = float(value.mean()), float(value.std(ddof=1))
    half = float(stdtrit(n - 1, 0.975)) * sd / n**0.5
    return {"mean": mean, "low": mean - half, "high": mean + half, "sd": sd, "n": n}


def _summary(observed: NDArray[np.float64], drawn: NDArray[np.float64]) -> dict[str, float]:
    """Difference, percentile interval and p value from the metrics of a and b on the rows [2] and on the resamples [R, 2]."""
    differences = np.sort(drawn[:, 0] - drawn[:, 1])
    # Of 10,000 resamples the 250th from each end: most that may lie beyond 0 with a p value below 0.05.
    beyond = max(len(differences) // 40 - 1, 0)
    low, high = differences[beyond], differences[-1 - beyond]
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


def _checked_systems(
    scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the scores of both systems as [S, N] and the labels [N]. Raises DataError for other shapes."""
    systems = []
    for scores in (scores_a, scores_b):
        rows = scores if np.ndim(scores) == 2 else [scores]
        checked = [checked_rows(row, labels) for row in np.asarray(rows)]
        if not checked:
            raise DataError("no scores: a comparison needs those of at least one seed")
        systems.append(np.stack([score for score, _ in checked]))
        label = checked[0][1]
    if systems[0].shape != systems[1].shape:
        raise DataError(f"scores of {len(systems[0])} and of {len(systems[1])} seeds; both systems need the same ones")
    return systems[0], systems[1], label


def _decided(score: NDArray[np.float64], threshold: ArrayLike | None, metric: str) -> NDArray[np.bool_]:
    """Decisions [S, N] with one threshold for all seeds or one per seed."""
    values = np.asarray(np.nan if threshold is None else threshold, dtype=np.float64)
    if values.shape not in [(), (len(score),)] or not np.isfinite(values).all():
        raise ConfigError(
            f"metric {metric} needs two finite thresholds, or one per seed ({len(score)}) of each; got {shorten(threshold)}"
        )
    return score >= values.reshape(-1, 1)


def _drawn(
    counts: NDArray[np.int64],
    values: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    *,
    resamples: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Metrics on the rows [...] and on the resamples [R, ...], computed in blocks of bounded memory.

    counts: number of rows of each kind [K]; `values` maps such counts [r, K] to metrics [r, ...].
    """
    generator = np.random.default_rng(seed)
    n = int(counts.sum())
    drawn = []
    for start in range(0, resamples, size := max(1, BLOCK // len(counts))):
        rows = min(size, resamples - start)
        drawn.append(values(generator.multinomial(n, counts / n, size=rows)))
    return values(counts[np.newaxis])[0], np.concatenate(drawn)


def _draw_outcomes(
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    label: NDArray[np.int64],
    *,
    metric: str,
    resamples: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Metric of both systems from their decisions [S, N]: on the rows [2], on the resamples [R, 2].

    F1 and accuracy depend only on label and decisions of a row, so the counts of such outcomes (eight for one seed) are
    resampled instead of rows.
    """
    first = int(np.argmax(a != b))
    # Samples depend on the order of the outcomes, so swapped systems use the same order.
    if b.flat[first] and not a.flat[first]:
        observed, drawn = _draw_outcomes(b, a, label, metric=metric, resamples=resamples, seed=seed)
        return observed[::-1], drawn[:, ::-1]
    outcomes, counts = np.unique(np.vstack([label, a, b]), axis=1, return_counts=True)

    def values(times: NDArray[np.int64]) -> NDArray[np.float64]:
        return _metric_of_counts(times, outcomes[0], outcomes[1:].reshape(2, *a.shape[:1], -1), metric=metric)

    return _drawn(counts, values, resamples=resamples, seed=seed)


def _metric_of_counts(
    times: NDArray[np.int64], label: NDArray[np.int64], decided: NDArray[np.int64], *, metric: str
) -> NDArray[np.float64]:
    """Metric of both systems, averaged over seeds [R, 2], if outcome k occurs times[r, k] times.

    label: [K]; decided: [2, S, K], all 0 or 1. F1 is NaN where no row is positive.
    """
    weights = times.astype(np.float64)  # float64 counts exactly, and its product runs in BLAS
    n, positives = weights.sum(axis=1), weights @ label
    matches, hits = np.tensordot(np.stack([decided, decided * label]), weights, axes=(3, 1))  # [2, S, R] each
    if metric == "accuracy":
        value = (n - matches - positives + 2 * hits) / n
    else:
        value = np.where(positives > 0, 2 * hits / np.maximum(matches + positives, 1), np.nan)
    return np.asarray(value.mean(axis=1).T)


@lru_cache(maxsize=1024)
def _resampled_precision(scores: bytes, labels: bytes, resamples: int, seed: int) -> NDArray[np.float64]:
    """Average precision of one system and seed [1 + R]: on the rows, then on each resample; cached, because each system
    is compared with several others on the same resamples.

    scores, labels: the bytes of float64 [N] and int64 [N].
    """
    value = _average_precision(np.frombuffer(scores), np.frombuffer(labels, np.int64))
    counts = np.ones(len(labels) // 8, dtype=np.int64)
    observed, drawn = _drawn(counts, value, resamples=resamples, seed=seed)
    return np.append(observed, drawn)


def _average_precision(
    score: NDArray[np.float64], label: NDArray[np.int64]
) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Return a function from row counts [R, N] to average precision [R]; ties are handled as in scikit-learn."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    sorted_label = label[order]

    def precision_of(times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Average precision [R] if row i occurs times[r, i] times."""
        times = times[:, order]
        seen = times.cumsum(axis=1)[:, ends]
        hits = (times * sorted_label).cumsum(axis=1)[:, ends]
        gained = np.diff(hits, axis=1, prepend=0)
        total = hits[:, -1]
        area = (gained * hits / np.maximum(seen, 1)).sum(axis=1) / np.maximum(total, 1)
        return np.where(total > 0, area, np.nan)

    return precision_of
