"""Statistics of the teacher's scores for the objectives: thresholds of pairs and of random cells, spread, calibration."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.config import TrainConfig
from flipkd.data.pair_table import PairTable
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import Calibration, fit_calibration
from flipkd.objectives import MatchBatch

logger = logging.getLogger(__name__)
Scores = NDArray[np.float32]
LEVELS = 401  # the number of quantiles tried between filter_quantile and 1
TAIL = 0.05  # the share of a class whose scores are beyond the ends of the teacher's range
MIN_PER_CLASS = 2  # as a calibration needs
MAX_ROWS = 512  # of the grid of random cells


def teacher_thresholds(
    scores: Scores, label: NDArray[np.int64], *, quantile: float, band: float = 0.0
) -> tuple[float, float]:
    """Return (theta_pos, theta_neg): the `quantile` of the positives' scores, the 1 - `quantile` of the negatives'.

    scores, label: [N], labels below 0 are unknown. The teacher is uncertain between the bounds. With `band` above 0 the
    quantile rises, and the bounds move apart, until at least that share of the labelled pairs is between them. With 0
    and classes that overlap so much that the bounds cross, both move close to their middle: then there is no band, but
    no cell is in both classes.
    """
    positive, negative = scores[label == 1], scores[label == 0]
    if not len(positive) or not len(negative):
        raise ConfigError(
            "the thresholds of the filter need labelled pairs of both classes; add some, or set filter_quantile to null"
        )
    if band > 0:
        return _bounds_with_band(positive, negative, quantile=quantile, band=band)
    theta_pos, theta_neg = float(np.quantile(positive, quantile)), float(np.quantile(negative, 1 - quantile))
    if theta_neg >= theta_pos:
        middle = (theta_pos + theta_neg) / 2
        gap = 1e-3 * max(float(np.std(scores)), 1e-3)
        theta_pos, theta_neg = middle + gap, middle - gap
    return theta_pos, theta_neg


def _bounds_with_band(positive: Scores, negative: Scores, *, quantile: float, band: float) -> tuple[float, float]:
    levels = np.linspace(quantile, 1, LEVELS)
    lower, upper = np.quantile(negative, 1 - levels), np.quantile(positive, levels)
    both = np.sort(np.concatenate([positive, negative]))
    between = np.searchsorted(both, upper, side="left") - np.searchsorted(both, lower, side="right")
    wide = np.flatnonzero(between >= band * len(both))
    if not len(wide):
        most = max(between.max(), 0) / len(both)
        raise ConfigError(
            f"filter_band={band}: at most {most:.2f} of the labelled pairs are between two quantiles of the teacher's "
            "scores, which hardly differ; set filter_band to 0 or use another teacher"
        )
    return float(upper[wide[0]]), float(lower[wide[0]])


def random_thresholds(table: PairTable, *, quantiles: Sequence[float], seed: int) -> tuple[float, float]:
    """Return (theta_off_pos, theta_off_neg) of cells off the diagonal: two quantiles of the teacher's scores of random cells.

    quantiles: that of theta_off_neg, then that of theta_off_pos. The cells are those of `valid_mask` in a batch of at most
    MAX_ROWS pairs of the table, drawn by `seed` alone.
    """
    lower, upper = quantiles
    signal = table.teacher
    if not 0 <= lower < upper <= 1:
        raise ConfigError(
            f"off_diagonal_quantiles={list(quantiles)}: must be two increasing numbers from 0 to 1, e.g. [0.95, 0.999]"
        )
    if signal is None or signal.left is None or signal.right is None:
        raise ConfigError(
            "off_diagonal_quantiles need the embeddings of a bi-encoder; this teacher scores pairs only; set them to null"
        )
    rows = np.random.default_rng(seed).permutation(len(table))[:MAX_ROWS]
    number: dict[str, int] = {}
    ids = [[number.setdefault(side[row], len(number)) for row in rows] for side in (table.left, table.right)]
    grid = torch.from_numpy(signal.left[rows]) @ torch.from_numpy(signal.right[rows]).T
    batch = MatchBatch(teacher_grid=grid, left_id=torch.tensor(ids[0]), right_id=torch.tensor(ids[1]))
    scores = grid[batch.valid_mask & ~batch.pair_mask].numpy()
    if not len(scores):
        raise ConfigError("off_diagonal_quantiles need two pairs whose texts differ; set them to null")
    theta_neg, theta_pos = (float(value) for value in np.quantile(scores, [lower, upper]))
    if not theta_neg < theta_pos:
        raise ConfigError(
            f"off_diagonal_quantiles={list(quantiles)}: the teacher's scores of random pairs have the same value at both "
            "quantiles; choose quantiles that are further apart"
        )
    return theta_pos, theta_neg


def teacher_spread(scores: Scores, label: NDArray[np.int64]) -> dict[str, float]:
    """Return teacher_std, the standard deviation of the scores of labelled pairs, and teacher_low and teacher_high.

    teacher_low is the TAIL quantile of the negatives, teacher_high the 1 - TAIL quantile of the positives. A value that
    these pairs do not determine is left out.
    """
    labelled, positive, negative = scores[label >= 0], scores[label == 1], scores[label == 0]
    found = {}
    if len(labelled) and (spread := float(np.std(labelled))) > 0:
        found["teacher_std"] = spread
    if len(positive) and len(negative):
        low, high = float(np.quantile(negative, TAIL)), float(np.quantile(positive, 1 - TAIL))
        if low < high:
            found |= {"teacher_low": low, "teacher_high": high}
    return found


def teacher_facts(config: TrainConfig, table: PairTable, validation: PairTable) -> dict[str, float]:
    """Return the objectives' settings that depend on the teacher: thresholds, spread and calibration of its scores."""
    if table.teacher is None or validation.teacher is None:
        return {}
    scores = table.teacher.pair_scores()
    facts = teacher_spread(scores, table.label)
    if config.filter_quantile is not None:
        facts["theta_pos"], facts["theta_neg"] = teacher_thresholds(
            scores, table.label, quantile=config.filter_quantile, band=config.filter_band
        )
    elif config.filter_band:
        logger.warning("filter_band=%g has no effect without filter_quantile", config.filter_band)
    if config.off_diagonal_quantiles is not None:
        facts["theta_off_pos"], facts["theta_off_neg"] = random_thresholds(
            table, quantiles=config.off_diagonal_quantiles, seed=config.seed
        )
    calibration = teacher_calibration(table, validation)
    return facts | {"teacher_slope": calibration.slope, "teacher_intercept": calibration.intercept}


def teacher_calibration(table: PairTable, validation: PairTable) -> Calibration:
    """Return the calibration of the teacher's score, fitted on out-of-fold training scores, or else on validation.

    It is never fitted on scores of pairs that the teacher was fine-tuned on, because these are overconfident.
    """
    signal, label = table.teacher, table.label
    if signal is not None and signal.out_of_fold is not None:
        rows = signal.out_of_fold & (label >= 0)
        if min((rows & (label == 1)).sum(), (rows & (label == 0)).sum()) >= MIN_PER_CLASS:
            return fit_calibration(signal.pair_scores()[rows], label[rows], method="sigmoid")
    known = validation.labelled()
    if known.teacher is None:
        raise ValueError("a teacher's calibration needs its scores of validation pairs")
    return fit_calibration(known.teacher.pair_scores(), known.label, method="sigmoid")
