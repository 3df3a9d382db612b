"""Chart data from scores: precision-recall, reliability, distributions, agreement; arrays in, rows out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from flipkd.evaluate.calibration import fit_calibration
from flipkd.evaluate.fidelity import rank_correlation
from flipkd.report.comparison import Comparison, RunScores

MAX_POINTS = 200  # of a line; more are not visible
MAX_SCATTER = 1000
RELIABILITY_BINS = 10
MIN_BIN_PAIRS = 10  # the share of matches among fewer pairs is noise
HISTOGRAM_EDGES = np.linspace(-3, 3, 25)  # in standard deviations; values beyond are in the outermost bins
CLASSES = ("no match", "match")

Rows = list[dict[str, Any]]


def probabilities(comparison: Comparison, run: RunScores) -> NDArray[np.float64]:
    """Return P(match) of the test pairs [N]: the run's own, or a sigmoid fitted on validation."""
    if run.probability is not None:
        return run.probability
    fit = fit_calibration(run.validation[run.score], comparison.validation_label, method="sigmoid")
    return fit.apply(run.test[run.score])


def precision_recall(comparison: Comparison, runs: Sequence[RunScores]) -> tuple[Rows, Rows]:
    """Return the curve of each run, and its operating point: precision and recall at its threshold."""
    curve, operating = [], []
    for run in runs:
        precision, recall, _ = precision_recall_curve(comparison.label, run.test[run.score])
        precision, recall = precision[-2::-1], recall[-2::-1]  # rising recall; the last point (1, 0) is not a decision
        kept = np.unique(np.linspace(0, len(recall) - 1, MAX_POINTS).astype(np.int64))
        curve += [
            {"name": run.name, "recall": _round(recall[bin_index]), "precision": _round(precision[bin_index])}
            for bin_index in kept
        ]
        hits = int(comparison.label[run.matches].sum())
        operating.append(
            {
                "name": run.name,
                "recall": _round(hits / max(int(comparison.label.sum()), 1)),
                "precision": _round(hits / max(int(run.matches.sum()), 1)),
            }
        )
    return curve, operating


def reliability(comparison: Comparison, runs: Sequence[RunScores]) -> Rows:
    """Return mean probability, share of matches and number of pairs per run and tenth of P(match); skip small bins."""
    rows = []
    for run in runs:
        probability = probabilities(comparison, run)
        bin_index = np.minimum((probability * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
        for k in np.flatnonzero(np.bincount(bin_index) >= MIN_BIN_PAIRS):
            inside = bin_index == k
            rows.append(
                {
                    "name": run.name,
                    "predicted": _round(probability[inside].mean()),
                    "observed": _round(comparison.label[inside].mean()),
                    "pairs": int(inside.sum()),
                }
            )
    return rows


def distribution(comparison: Comparison, run: RunScores) -> tuple[Rows, float]:
    """Return the histogram of standardised test scores by class (shares of the class), and the threshold on that scale."""
    score = run.test[run.score]
    mean, spread = score.mean(), score.std() or 1.0
    low, high = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]
    standardised = np.clip((score - mean) / spread, low, high)
    rows = []
    for value, name in enumerate(CLASSES):
        counts, _ = np.histogram(standardised[comparison.label == value], HISTOGRAM_EDGES)
        rows += [
            {"class": name, "start": float(start), "end": float(end), "share": _round(count / max(counts.sum(), 1))}
            for start, end, count in zip(HISTOGRAM_EDGES[:-1], HISTOGRAM_EDGES[1:], counts, strict=True)
        ]
    return rows, _round(np.clip((run.threshold - mean) / spread, low, high))


def agreement(comparison: Comparison, student: RunScores, teacher: RunScores) -> tuple[Rows, float | None]:
    """Return student cosine and teacher score of a sample of test pairs, and Spearman's rho over all test pairs.

    The rho is None when one of the two scores is constant.
    """
    x, y = teacher.test[teacher.score], student.test["cosine"]
    n = len(comparison.label)
    sample = np.sort(np.random.default_rng(0).permutation(n)[:MAX_SCATTER])
    rows = [
        {"teacher": _round(x[row]), "student": _round(y[row]), "class": CLASSES[int(comparison.label[row])]}
        for row in sample
    ]
    return rows, rank_correlation(x, y)


def _round(value: float) -> float:
    """Round to five digits: enough for a screen, and the page stays small."""
    return float(f"{value:.5g}")
