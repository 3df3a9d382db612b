"""Objectives of the teacher's order of the candidates of each text of the batch: by gaps, or as a ranking.

Both teach which of two texts is closer to a third, but not how close. S [N, M] are the student's similarities,
T [N, M] the teacher's; only `valid_mask` cells count; rows and columns alike, averaged.
"""

from __future__ import annotations

import torch
from torch import Tensor, where
from torch.nn.functional import softplus

from flipkd.errors import ConfigError
from flipkd.objectives.batch import LOWEST, MatchBatch, mean_or_zero, require_temperature
from flipkd.objectives.comparisons import ordered_comparisons

TIE = 1e-6  # of the teacher's similarities: the rounding of one cosine in float32


def teacher_rank_hinge(batch: MatchBatch, *, margin: float = 0.1, max_comparisons: int = 65536) -> Tensor:
    """L = mean over i and j, k with T_ij - T_ik > margin of [margin - (S_ij - S_ik)]_+; columns alike, averaged.

    A gap of the teacher up to the margin adds no term; a larger one asks for a gap of the margin. Needs left, right
    and teacher_grid. Each mean takes all its comparisons or, above `max_comparisons`, that many drawn uniformly by
    the default generator of the batch's device. A mean over no terms is 0. Raises ConfigError for a margin below 0 or
    max_comparisons below 1.

    Source: rank-based matching with a dead zone (LLP; Guo et al., ICML 2023, arXiv 2210.05801), there over the
    neighbours of a node; comparisons without a term are left out of the mean here.
    """
    if not margin >= 0 or max_comparisons < 1:
        raise ConfigError(f"margin={margin} must be at least 0, max_comparisons={max_comparisons} at least 1")
    student, teacher, valid_mask = batch.similarity, batch.teacher_similarity, batch.valid_mask
    rows = _row_hinge(student, teacher, valid_mask, margin=margin, limit=max_comparisons)
    return (rows + _row_hinge(student.T, teacher.T, valid_mask.T, margin=margin, limit=max_comparisons)) / 2


def list_mle(batch: MatchBatch, *, top: int = 2, temperature: float = 0.05) -> Tensor:
    """L = mean over rows of -log P(the teacher's first `top` candidates in its order), P of Plackett-Luce over S / tau.

    -log P = sum over ranks m <= top of -log( e^{s_(m)} / (e^{s_(m)} + sum over n with T_(n) < T_(m) of e^{s_(n)}) ),
    s = S_i / tau in the order of T_i; columns alike, averaged. Candidates that the teacher ties (closer than TIE) are not
    compared with each other and share their ranks evenly, so the order of the batch does not matter. In a row with
    fewer candidates all ranks count; the last one adds 0, and a row of fewer than two is left out. With
    top=1 it is the cross-entropy of the teacher's nearest text. Needs left, right and teacher_grid. Raises ConfigError
    for a temperature that is not above 0 or top below 1.

    Source: ListMLE (Xia et al., ICML 2008), cut after two ranks as in Syntriever's partial Plackett-Luce (Kim and
    Baek, arXiv 2502.03824); the teacher's order in place of an LLM's preference is ours.
    """
    require_temperature(temperature)
    if top < 1:
        raise ConfigError(f"top={top} must be at least 1")
    student, teacher, valid_mask = batch.similarity / temperature, batch.teacher_similarity, batch.valid_mask
    rows = _row_mle(student, teacher, valid_mask, top=top)
    return (rows + _row_mle(student.T, teacher.T, valid_mask.T, top=top)) / 2


def _row_hinge(student: Tensor, teacher: Tensor, valid_mask: Tensor, *, margin: float, limit: int) -> Tensor:
    rows, columns = valid_mask.shape
    row = torch.arange(rows, device=valid_mask.device)[:, None]
    group, most = where(valid_mask, row, -1).flatten(), rows * (columns * (columns - 1) // 2)
    compared = ordered_comparisons(group, teacher.flatten(), gap=margin, most=most, limit=limit)
    closer, further = compared.sides(student.flatten())
    return mean_or_zero((margin - (closer - further)).relu(), compared.valid)


def _row_mle(student: Tensor, teacher: Tensor, valid_mask: Tensor, *, top: int) -> Tensor:
    values, order = teacher.masked_fill(~valid_mask, -float("inf")).contiguous().sort(dim=1)
    valid = valid_mask.gather(1, order)
    ranked = student.gather(1, order).masked_fill(~valid, LOWEST)
    below = torch.searchsorted(values, values - TIE)
    below_or_tied = torch.searchsorted(values, values + TIE, right=True)
    running = ranked.logcumsumexp(dim=1)
    all_below = running.gather(1, (below - 1).clamp(min=0)).where(below > 0, LOWEST)
    tied, ranks_left = below_or_tied - below, top - (values.shape[1] - below_or_tied)
    share = ranks_left.clamp(min=0).minimum(tied) / tied.clamp(min=1)
    terms = where(valid, softplus(all_below - ranked) * share, 0.0)
    return mean_or_zero(terms.sum(dim=1), valid_mask.sum(dim=1) > 1)
