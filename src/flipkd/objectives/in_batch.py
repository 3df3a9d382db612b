"""Objectives of the grid of a batch: the teacher's similarity of each left-hand text to each right-hand text."""

from __future__ import annotations

from torch import Tensor, where
from torch.nn.functional import log_softmax

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch, mean_or_zero, require_temperature
from flipkd.objectives.selection import scored_cells


def in_batch_kl(
    batch: MatchBatch,
    *,
    temperature_student: float = 0.05,
    temperature_teacher: float = 0.05,
    symmetric: bool = True,
) -> Tensor:
    """L_dist = mean over rows i of KL( softmax_j(T_ij / tau_t) || softmax_j(S_ij / tau_s) ); columns alike, averaged.

    S [N, M] student's, T [N, M] teacher's similarities; needs left, right and teacher_grid. Cells that are not
    `valid_mask` are in neither softmax. A row with fewer than two cells is left out, because a softmax over one
    candidate is constant; a direction without rows counts as 0. It is the true divergence, 0 at a perfect match, without
    a factor tau^2, which suits temperatures above 1: at 0.05 it would make the gradient 400 times smaller.
    Cosines need temperatures of about 0.02 to 0.1; at 1 their softmax is almost flat.
    Raises ConfigError for a temperature that is not above 0.

    Aligning the in-batch similarity distributions is the paper's (Li et al., ACL 2025, arXiv 2507.05617); its formula
    is not public, so this form (listwise distillation, as used for dense retrieval) is ours.
    """
    student, teacher = _scaled(batch, temperature_student, temperature_teacher)
    valid_mask = batch.valid_mask
    rows = _row_kl(student, teacher, valid_mask)
    return (rows + _row_kl(student.T, teacher.T, valid_mask.T)) / 2 if symmetric else rows


def top_k_kl(
    batch: MatchBatch, *, top: int = 5, temperature_student: float = 0.05, temperature_teacher: float = 0.05
) -> Tensor:
    """L = `in_batch_kl` over the `top` candidates of each row, and of each column, that are the nearest for the teacher.

    The far texts, whose order is noise, are in neither softmax. Candidates that the teacher ties with the last of them are in as
    well. With `top` of at least the number of candidates it is `in_batch_kl`. Needs left, right and teacher_grid.
    Raises ConfigError for `top` below 2, where no distribution is left, or a temperature that is not above 0.

    Source: TopKD (arXiv 2508.04539) gives the teacher's first K classes more weight; leaving the others out is ours.
    """
    if top < 2:
        raise ConfigError(f"top={top} must be at least 2: a softmax over one candidate is constant")
    student, teacher = _scaled(batch, temperature_student, temperature_teacher)
    valid_mask = batch.valid_mask
    rows = _row_kl(student, teacher, _nearest(teacher, valid_mask, top=top))
    return (rows + _row_kl(student.T, teacher.T, _nearest(teacher.T, valid_mask.T, top=top))) / 2


def score_mse(batch: MatchBatch) -> Tensor:
    """L = mean over pairs of (S_ii - T_ii)^2 + mean over the other cells of (S_ij - T_ij)^2.

    S [N, M] student's, T [N, M] teacher's similarities; needs left, right and the teacher's grid or pair scores, in the
    range of cosines. There are two means because a pair is one cell of M in its row. Only `valid_mask` cells count;
    with pair scores alone the second mean is 0. Unlike `in_batch_kl` it teaches how close two texts are, not only which
    of several is closest: adding a constant to S changes the loss.

    Source: regression of the teacher's score on the student's dot product (Barkan et al., AAAI 2020, arXiv 1908.05161);
    the cells off the diagonal are ours.
    """
    teacher, valid_mask = scored_cells(batch)
    gap = (batch.similarity - teacher).square()
    return mean_or_zero(gap, valid_mask & batch.pair_mask) + mean_or_zero(gap, valid_mask & ~batch.pair_mask)


def _scaled(batch: MatchBatch, temperature_student: float, temperature_teacher: float) -> tuple[Tensor, Tensor]:
    """Return the logits [N, M] of the student and of the teacher."""
    require_temperature(temperature_student, "temperature_student")
    require_temperature(temperature_teacher, "temperature_teacher")
    return batch.similarity / temperature_student, batch.teacher_similarity / temperature_teacher


def _nearest(teacher: Tensor, valid_mask: Tensor, *, top: int) -> Tensor:
    """Return a mask of the valid cells of each row that are not below its `top`-th highest."""
    kept = teacher.masked_fill(~valid_mask, -float("inf"))
    last = kept.topk(min(top, kept.shape[1]), dim=1).values[:, -1:]
    return valid_mask & (kept >= last)


def _row_kl(student: Tensor, teacher: Tensor, valid_mask: Tensor) -> Tensor:
    kept_rows = valid_mask.sum(dim=1) > 1
    valid_mask = valid_mask | ~kept_rows[:, None]  # the softmax of a row without any cell would be NaN
    log_student = log_softmax(student.masked_fill(~valid_mask, -float("inf")), dim=1)
    log_teacher = log_softmax(teacher.masked_fill(~valid_mask, -float("inf")), dim=1)
    gap = where(valid_mask, log_teacher - log_student, 0.0)  # -inf minus -inf in the masked cells
    return mean_or_zero((log_teacher.exp() * gap).sum(dim=1), kept_rows)
