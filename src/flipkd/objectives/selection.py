"""The dual threshold: which cells of the grid are learnt from as positives or negatives, and how far each is trusted."""

from __future__ import annotations

import math

from torch import Tensor, where

from flipkd.errors import ConfigError, nearest
from flipkd.objectives.batch import MatchBatch

OFF_DIAGONAL = ["both", "negatives", "none"]


def scored_cells(batch: MatchBatch) -> tuple[Tensor, Tensor]:
    """The teacher's values [N, M], and the cells [N, M] bool in which they may be used.

    With a grid these are the comparable cells; a pair's own cell holds its pair score where there is one, which may be
    more honest than the grid of a teacher that was fine-tuned on the pair. With pair scores only they are the diagonal:
    off it the teacher has said nothing, and row i merely repeats its own score.
    """
    if batch.teacher_grid is not None:
        return where(batch.own, batch.teacher[:, None], batch.teacher_similarity), batch.valid_mask
    return batch.teacher[:, None].expand(batch.shape), batch.own


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
    """Positive cells, T_ij >= theta_pos, and negative cells, T_ij <= theta_neg, both [N, M] bool; the rest is ignored.

    A known label must agree, also where a cell off the diagonal holds the texts of another pair of the batch; so a
    labelled pair that the teacher contradicts is in neither. Only cells that `scored_cells` allows are considered. Both
    None is the ablation without the filter: on the diagonal the label alone decides (unknown is in neither). With
    `trust` the label decides as well, and the thresholds judge the unlabelled pairs alone.

    Cells off the diagonal: "both" judges them by theta_off_pos and theta_off_neg, and where one is None by that of the
    pairs (without the filter all are negative); "negatives" takes those up to theta_off_neg as negatives, None means
    all, and none as a positive; "none" leaves them out.
    Raises ConfigError unless theta_neg < theta_pos, or both are None (which needs label); the same off the diagonal.

    The filter with a lower bound for positives and an upper bound for negatives is the paper's (Li et al., ACL 2025,
    arXiv 2507.05617); applying it off the diagonal, the agreement with the label, and trust are ours.
    """
    pairs = _ordered(theta_pos, theta_neg)
    bounds = _bounds_off(off_diagonal, pairs, theta_off_pos, theta_off_neg)
    teacher, usable = scored_cells(batch)
    own = batch.own
    if pairs is None:
        label = batch.require("label")[:, None]
        positive, negative = label == 1, label == 0
    else:
        positive, negative = teacher >= pairs[0], teacher <= pairs[1]
        if trust and batch.label is not None:
            label = batch.label[:, None]
            positive, negative = where(label < 0, positive, label == 1), where(label < 0, negative, label == 0)
    positive, negative = where(own, positive, teacher >= bounds[0]), where(own, negative, teacher <= bounds[1])
    return usable & positive & ~batch.labelled(0), usable & negative & ~batch.labelled(1)


def trust_in_class(batch: MatchBatch, positive: Tensor, *, log_odds: Tensor) -> Tensor:
    """[N, M] on the diagonal the teacher's probability of the class that a pair is in, elsewhere 1.

    positive: [N, M] bool, the others count as negative; log_odds: [N] of a match. What holds for pairs does not hold for
    two texts at random, which match more rarely.
    """
    probability = where(positive.diagonal(), log_odds.sigmoid(), (-log_odds).sigmoid())
    return where(batch.own, probability[:, None], 1.0)


def _ordered(theta_pos: float | None, theta_neg: float | None) -> tuple[float, float] | None:
    """The pairs' bounds, None without the filter."""
    if theta_pos is None and theta_neg is None:
        return None
    if theta_pos is None or theta_neg is None or not theta_neg < theta_pos:
        raise ConfigError(
            f"theta_pos={theta_pos}, theta_neg={theta_neg}: theta_neg must lie below theta_pos, "
            "or both be null to learn from labels without the filter"
        )
    return theta_pos, theta_neg


def _bounds_off(
    mode: str, pairs: tuple[float, float] | None, lower: float | None, upper: float | None
) -> tuple[float, float]:
    """The bounds off the diagonal, infinite where nothing bounds or nothing is taken."""
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
            f"off the diagonal negatives would reach up to {upper} and positives down to {lower}: theta_off_neg must lie "
            "below theta_off_pos"
        )
    return lower, upper
