"""From scores to the points of a chart: precision and recall, reliability, distributions, agreement; numpy in, rows out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.evaluate.calibration import fit_calibration
from flipkd.report.comparison import Comparison, RunScores

LARGEST_CURVE = 200  # points a line needs at most to look the same
LARGEST_SCATTER = 1000
RELIABILITY_BINS = 10
LEAST_BIN = 10  # pairs; the share of matches among fewer is noise
HISTOGRAM_EDGES = np.linspace(-3, 3, 25)  # in standard deviations; what lies beyond counts in the outermost bins
CLASSES = ("no match", "match")

Rows = list[dict[str, Any]]


def probabilities(comparison: Comparison, run: RunScores) -> NDArray[np.float64]:
    """P(match) of the test pairs [N]: the run's own, or a sigmoid fitted on validation."""
    if run.probability is not None:
        return run.probability
    fit = fit_calibration(run.validation[run.score], comparison.validation_label, method="sigmoid")
    return fit.apply(run.test[run.score])


def precision_recall(comparison: Comparison, runs: Sequence[RunScores]) -> tuple[Rows, Rows]:
    """Points of the curve of each run, and its operating point: precision and recall at its own threshold."""
    from sklearn.metrics import precision_recall_curve

    curve, operating = [], []
    for run in runs:
        precision, recall, _ = precision_recall_curve(comparison.label, run.test[run.score])
        precision, recall = precision[-2::-1], recall[-2::-1]  # rising recall; the last is no decision but (1, 0)
        kept = np.unique(np.linspace(0, len(recall) - 1, LARGEST_CURVE).astype(np.int64))
        curve += [
            {"name": run.name, "recall": _short(recall[place]), "precision": _short(precision[place])}
            for place in kept
        ]
        hits = int(comparison.label[run.matches].sum())
        operating.append(
            {
                "name": run.name,
                "recall": _short(hits / max(int(comparison.label.sum()), 1)),
                "precision": _short(hits / max(int(run.matches.sum()), 1)),
            }
        )
    return curve, operating


def reliability(comparison: Comparison, runs: Sequence[RunScores]) -> Rows:
    """For each run and tenth of P(match): mean probability, share of matches, how many pairs; too few are left out."""
    rows = []
    for run in runs:
        probability = probabilities(comparison, run)
        place = np.minimum((probability * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
        for k in np.flatnonzero(np.bincount(place) >= LEAST_BIN):
            inside = place == k
            rows.append(
                {
                    "name": run.name,
                    "predicted": _short(probability[inside].mean()),
                    "observed": _short(comparison.label[inside].mean()),
                    "pairs": int(inside.sum()),
                }
            )
    return rows


def distribution(comparison: Comparison, run: RunScores) -> tuple[Rows, float]:
    """Histogram of standardised test scores by class (shares of the class), and the threshold on the same scale."""
    score = run.test[run.score]
    mean, spread = score.mean(), score.std() or 1.0
    low, high = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]
    place = np.clip((score - mean) / spread, low, high)
    rows = []
    for value, name in enumerate(CLASSES):
        counts, _ = np.histogram(place[comparison.label == value], HISTOGRAM_EDGES)
        rows += [
            {"class": name, "start": float(start), "end": float(end), "share": _short(count / max(counts.sum(), 1))}
            for start, end, count in zip(HISTOGRAM_EDGES[:-1], HISTOGRAM_EDGES[1:], counts, strict=True)
        ]
    return rows, _short(np.clip((run.threshold - mean) / spread, low, high))


def agreement(comparison: Comparison, student: RunScores, teacher: RunScores) -> tuple[Rows, float | None]:
    """The student's cosine against the teacher's score on a sample of test pairs, and Spearman's rho over all of them.

    The rho is None where one of the two gives all pairs the same score.
    """
    from scipy.stats import spearmanr

    x, y = teacher.test[teacher.score], student.test["cosine"]
    n = len(comparison.label)
    sample = np.sort(np.random.default_rng(0).permutation(n)[:LARGEST_SCATTER])
    rows = [
        {"teacher": _short(x[row]), "student": _short(y[row]), "class": CLASSES[int(comparison.label[row])]}
        for row in sample
    ]
    constant = np.ptp(x) == 0 or np.ptp(y) == 0
    return rows, None if constant else float(spearmanr(x, y).statistic)


def _short(value: float) -> float:
    """Five digits are more than a screen shows, and keep the page small."""
    return float(f"{value:.5g}")
