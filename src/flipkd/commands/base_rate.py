"""The base rate of a calibration: a warning where labelled pairs have another one, and the correction for a stated one."""

from __future__ import annotations

import logging
from dataclasses import asdict

import numpy as np

from flipkd.evaluate.calibration import Calibration
from flipkd.evaluate.prior_shift import LEVEL, base_rate_p_value, rates_at, shift_calibration
from flipkd.student.contract import BaseRate, ScoreContract

logger = logging.getLogger(__name__)


def warn_of_base_rate(known: BaseRate | None, labels: np.ndarray) -> None:
    """Log a warning when labels [N] have another base rate than that for which the matcher was fitted, by a test at LEVEL."""
    if known is None:  # a matcher of an earlier format
        return
    matches, pairs = int(labels.sum()), len(labels)
    p_value = base_rate_p_value(matches, pairs, rate=known.rate, of_pairs=known.pairs)
    if p_value < LEVEL:
        logger.warning(
            "%.3g %% of these pairs match; the matcher was fitted for %.3g %% (p = %.2g, test at %g). The new probabilities and "
            "thresholds are valid for pairs like these; if future pairs have another share of matches, give it as --base_rate",
            100 * matches / pairs,
            100 * known.rate,
            p_value,
            LEVEL,
        )


def shift_contract(
    contract: ScoreContract, scores: np.ndarray, labels: np.ndarray, *, base_rate: float
) -> tuple[ScoreContract, dict[str, float]]:
    """Return the contract with the calibration corrected for this base rate, and the rates to expect at it."""
    fitted = float(labels.mean())
    calibration = shift_calibration(Calibration.of(contract.calibration), fitted=fitted, stated=base_rate)
    changes = {"calibration": asdict(calibration), "base_rate": BaseRate(rate=base_rate)}
    expected = rates_at(
        scores,
        labels,
        threshold=contract.threshold or 0.0,
        review_threshold=contract.review_threshold,
        base_rate=base_rate,
    )
    return contract.model_copy(update=changes), {"validation": fitted, "stated": base_rate, **expected}
