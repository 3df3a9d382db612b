"""The dual threshold: which cells of the grid the teacher is sure enough about to learn from."""

from __future__ import annotations

from torch import Tensor, where

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch


def scored_cells(batch: MatchBatch) -> tuple[Tensor, Tensor]:
    """The teacher's values [N, M], and the cells [N, M] bool in which they may be used.

    With a grid these are the comparable cells; a pair's own cell holds its pair score where there is one, which may be
    more honest than the grid of a teacher that was fine-tuned on the pair. With pair scores only they are the diagonal:
    off it the teacher has said nothing, and row i merely repeats its own score.
    """
    if batch.teacher_grid is not None:
        return where(batch.own, batch.teacher[:, None], batch.teacher_similarity), batch.comparable
    return batch.teacher[:, None].expand(batch.shape), batch.own


def dual_threshold(batch: MatchBatch, *, theta_pos: float | None, theta_neg: float | None) -> tuple[Tensor, Tensor]:
    """Positive cells, T_ij >= theta_pos, and negative cells, T_ij <= theta_neg, both [N, M] bool; the rest is ignored.

    On the diagonal a known label must agree, so a labelled pair that the teacher contradicts is in neither. Only cells
    that `scored_cells` allows are considered. Both None is the ablation without the filter: on the diagonal the label
    alone decides (unknown is in neither), and every cell off it is negative.
    Raises ConfigError unless theta_neg < theta_pos, or both are None (which needs label).

    The filter with a lower bound for positives and an upper bound for negatives is the paper's (Li et al., ACL 2025,
    arXiv 2507.05617); applying it off the diagonal, and the agreement with the label, are ours.
    """
    teacher, usable = scored_cells(batch)
    own = batch.own
    if theta_pos is None and theta_neg is None:
        label = batch.require("label")[:, None]
        return usable & own & (label == 1), usable & (~own | (label == 0))
    if theta_pos is None or theta_neg is None or not theta_neg < theta_pos:
        raise ConfigError(
            f"theta_pos={theta_pos}, theta_neg={theta_neg}: theta_neg must lie below theta_pos, "
            "or both be null to learn from labels without the filter"
        )
    positive, negative = usable & (teacher >= theta_pos), usable & (teacher <= theta_neg)
    if batch.label is None:
        return positive, negative
    label = batch.label[:, None]
    return positive & ~(own & (label == 0)), negative & ~(own & (label == 1))
