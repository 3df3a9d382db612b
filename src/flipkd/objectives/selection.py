"""The dual threshold: selects the cells of the grid that are positives or negatives, and their weights."""

from __future__ import annotations

import math

from torch import Tensor, where

from flipkd.errors import ConfigError, nearest
from flipkd.objectives.batch import MatchBatch

OFF_DIAGONAL = ["both", "negatives", "none"]


def scored_cells(batch: MatchBatch) -> tuple[Tensor, Tensor]:
    """Return the teacher's values [N, M] and a mask [N, M] of the cells in which they may be used.

    With a grid the mask is `valid_mask`; the diagonal has the pair scores where they are given, which may be more
    honest than the grid of a teacher that was fine-tuned on the pairs. With pair scores only the mask is the diagonal:
    the teacher gave no value for the other cells, and row i repeats the score of pair i.
    """
    if batch.teacher_grid is not None:
        return where(batch.pair_mask, batch.teacher[:, None], batch.teacher_similarity), batch.valid_mask
    return batch.teacher[:, None].expand(batch.shape), batch.pair_mask


def dual_threshold(
    batch: MatchBatch,
    *,
    theta_pos: float | None,
    theta_neg: float | None,
    off_diagonal: str = "both",
    theta_off_pos: float | None = None,
    theta_off_neg: float | None = None,
    trust: bool = False,
) -> tuple[Tensor, Tensor]:
    """Positive cells, T_ij >= theta_pos, and negative cells, T_ij <= theta_neg, both [N, M] bool; other cells are in neither.

    A known label must agree, also where a cell off the diagonal has the texts of another pair of the batch; so a
    labelled pair that the teacher contradicts is in neither. Only cells in the mask of `scored_cells` count. Both
    None is the ablation without the filter: on the diagonal the label alone decides (unknown is in neither). With
    `trust` the label decides as well, and the thresholds apply to unlabelled pairs only.

    Cells off the diagonal: "both" applies theta_off_pos and theta_off_neg, or the threshold of the pairs where one is
    None (without the filter all are negative); "negatives" takes those up to theta_off_neg as negatives (None: all) and
    none as positives; "none" leaves them out.
    Raises ConfigError unless theta_neg < theta_pos, or both are None (which needs label); the same off the diagonal.

    The filter with a lower bound for positives and an upper bound for negatives is the paper's (Li et al., ACL 2025,
    arXiv 2507.05617); applying it off the diagonal, the agreement with the label, and trust are ours.
    """
    pairs = _pair_bounds(theta_pos, theta_neg)
    bounds = _off_diagonal_bounds(off_diagonal, pairs, theta_off_pos, theta_off_neg)
    teacher, valid_mask = scored_cells(batch)
    pair_mask = batch.pair_mask
    if pairs is None:
        label = batch.require("label")[:, None]
        positive, negative = label == 1, label == 0
    else:
        positive, negative = teacher >= pairs[0], teacher <= pairs[1]
        if trust and batch.label is not None:
            label = batch.label[:, None]
            positive, negative = where(label < 0, positive, label == 1), where(label < 0, negative, label == 0)
    positive, negative = (
        where(pair_mask, positive, teacher >= bounds[0]),
        where(pair_mask, negative, teacher <= bounds[1]),
    )
    return valid_mask & positive & ~batch.label_mask(0), valid_mask & negative & ~batch.label_mask(1)


def class_probability(batch: MatchBatch, positive: Tensor, *, log_odds: Tensor) -> Tensor:
    """Return [N, M]: the teacher's probability of the class of each pair on the diagonal, 1 elsewhere.

    positive: [N, M] bool, the other cells count as negative; log_odds: [N] of a match. The calibration of pairs is not
    valid for random texts, which match more rarely.
    """
    probability = where(positive.diagonal(), log_odds.sigmoid(), (-log_odds).sigmoid())
    return where(batch.pair_mask, probability[:, None], 1.0)


def _pair_bounds(theta_pos: float | None, theta_neg: float | None) -> tuple[float, float] | None:
    """Return the bounds of the pairs, None without the filter."""
    if theta_pos is None and theta_neg is None:
        return None
    if theta_pos is None or theta_neg is None or not theta_neg < theta_pos:
        raise ConfigError(
            f"theta_pos={theta_pos}, theta_neg={theta_neg}: theta_neg must be below theta_pos, "
            "or both null to learn from the labels without the filter"
        )
    return theta_pos, theta_neg


def _off_diagonal_bounds(
    mode: str, pairs: tuple[float, float] | None, lower: float | None, upper: float | None
) -> tuple[float, float]:
    """Return the bounds off the diagonal; they are infinite where all cells or none are selected."""
    if mode not in OFF_DIAGONAL:
        raise ConfigError(f"off_diagonal={mode!r} is unknown; {nearest(str(mode), OFF_DIAGONAL)}")
    if mode == "none":
        return math.inf, -math.inf
    if mode == "both" and pairs is not None:
        lower, upper = pairs[0] if lower is None else lower, pairs[1] if upper is None else upper
    lower = math.inf if lower is None or mode == "negatives" else lower
    upper = math.inf if upper is None else upper
    if not upper < lower and lower < math.inf:
        raise ConfigError(
            f"off the diagonal cells up to {upper} would be negative and cells from {lower} positive: theta_off_neg must be "
            "below theta_off_pos"
        )
    return lower, upper
