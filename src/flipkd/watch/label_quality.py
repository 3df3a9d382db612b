"""Calibration of the pairs whose label came back: expected calibration error and Brier score with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.evaluate.metrics import expected_calibration_error, unchecked_calibration_error
from flipkd.watch.rows import ScoredRows

RESAMPLES = 500
Floats = NDArray[np.float64]


def label_quality(rows: ScoredRows) -> dict[str, Any] | None:
    """Return the number of labelled rows, base rate, ECE and Brier score with 95 % bootstrap intervals; None without labels."""
    known = rows.labelled()
    if known.probability is None or not len(known):
        return None
    probability, label = known.probability, known.label
    squares, ece = (label - probability) ** 2, expected_calibration_error(probability, label)
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = generator.integers(len(known), size=len(known))
        drawn.append((unchecked_calibration_error(probability[chosen], label[chosen]), squares[chosen].mean()))
    eces, scores = np.array(drawn).T
    return {
        "rows": len(known),
        "base_rate": float((label == 1).mean()),
        "mean_probability": float(probability.mean()),
        "ece": ece,
        "ece_interval": _ece_interval(ece, eces, probability),
        "brier_score": float(squares.mean()),
        "brier_interval": np.quantile(scores, [0.025, 0.975]).tolist(),
    }


def _ece_interval(ece: float, resampled: Floats, probability: Floats) -> list[float]:
    """Return the basic bootstrap interval (Davison and Hinkley, 1997, section 5.2) of an ECE, from 0 on where it may be 0.

    Few rows have an ECE above the true one by chance, and resampled rows one above that of the rows by about as much. So the
    interval of their quantiles lies above the truth; the basic one subtracts their distance instead. It begins at 0 if
    calibrated probabilities would have such an ECE in these rows.
    """
    low, high = (2 * ece - np.quantile(resampled, [0.975, 0.025])).tolist()
    generator = np.random.default_rng(0)
    by_chance = [
        unchecked_calibration_error(probability, (generator.random(len(probability)) < probability).astype(np.int64))
        for _ in range(RESAMPLES)
    ]
    may_be_0 = ece <= np.quantile(by_chance, 0.975)
    return [0.0 if may_be_0 else min(max(low, 0.0), ece), max(high, ece)]
