"""Calibration of the pairs whose label came back: expected calibration error and Brier score with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from flipkd.evaluate.metrics import expected_calibration_error
from flipkd.watch.rows import ScoredRows

RESAMPLES = 500


def label_quality(rows: ScoredRows) -> dict[str, Any] | None:
    """Return the number of labelled rows, base rate, ECE and Brier score with 95 % bootstrap intervals; None without labels.

    The ECE of few rows is above 0 even for calibrated probabilities, so compare it with its interval in the reference.
    """
    known = rows.labelled()
    if known.probability is None or not len(known):
        return None
    probability, label = known.probability, known.label
    squares = (label - probability) ** 2
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = generator.integers(len(known), size=len(known))
        drawn.append((expected_calibration_error(probability[chosen], label[chosen]), squares[chosen].mean()))
    (low, below), (high, above) = np.quantile(drawn, [0.025, 0.975], axis=0).tolist()
    return {
        "rows": len(known),
        "base_rate": float((label == 1).mean()),
        "mean_probability": float(probability.mean()),
        "ece": expected_calibration_error(probability, label),
        "ece_interval": [low, high],
        "brier_score": float(squares.mean()),
        "brier_interval": [below, above],
    }
