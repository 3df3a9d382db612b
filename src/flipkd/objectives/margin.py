"""Margin objectives of the cells that the dual threshold selects: classes apart, and the teacher's order inside each (L_MCL).

Two margin zones, between and inside the classes, adaptive to the teacher's scores, are the paper's (Li et al., ACL
2025, arXiv 2507.05617). Its formula is not public: both forms here are ours. `margin_angular` is a baseline: it follows
the two methods that the paper compares its own loss with.
S [N, M] are the student's similarities, T [N, M] the teacher's; P and Q the positive and negative cells of
`dual_threshold`, P_i and Q_i those of row i.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from flipkd.errors import ConfigError
from flipkd.objectives.answer import teacher_log_odds
from flipkd.objectives.batch import MatchBatch, mean_or_zero, require_temperature
from flipkd.objectives.comparisons import Comparisons, cross_comparisons, ordered_comparisons
from flipkd.objectives.selection import class_probability, dual_threshold, scored_cells


def margin_hinge(
    batch: MatchBatch,
    *,
    theta_pos: float | None,
    theta_neg: float | None,
    margin: float = 0.2,
    gamma: float = 0.5,
    epsilon: float = 0.05,
    max_comparisons: int = 65536,
    off_diagonal: str = "both",
    theta_off_pos: float | None = None,
    theta_off_neg: float | None = None,
    apart: bool = False,
    active: bool = False,
    spread: float | None = None,
    teacher_std: float | None = None,
    trust: bool = False,
    teacher_slope: float = 1.0,
    teacher_intercept: float = 0.0,
) -> Tensor:
    """Hinge form: classes apart by `margin`, and inside each at least a share `gamma` of the teacher's gaps.

    mean over p in P, q in Q of [margin - (S_p - S_q)]_+
    + mean over (u, v) in P x P and Q x Q with T_u - T_v > epsilon of [gamma (T_u - T_v) - (S_u - S_v)]_+

    `apart`: comparisons of two pairs have two means, and comparisons with a cell off the diagonal two more.
    `active`: the means are over the terms above 0. `spread`: the second line uses T times spread / teacher_std, so that
    epsilon and gamma have the same meaning for every teacher; None leaves T unchanged. `trust`: a labelled pair is in the
    class of its label; the weight of a pair is the teacher's probability of its class (sigmoid of teacher_slope T +
    teacher_intercept), that of a cell off the diagonal 1; a comparison has the product of its two weights.

    Needs left, right and the teacher's grid or pair scores, the latter in about the range of cosines. A gap of the
    teacher up to epsilon adds no term. A mean over no terms is 0. Each mean takes all its comparisons or, above
    `max_comparisons`, that many drawn uniformly by the default generator of the batch's device: memory is
    O(N M + max_comparisons).
    Raises ConfigError for an argument out of its range. Source: ours, see the docstring of this module.
    """
    if not epsilon >= 0 or max_comparisons < 1:
        raise ConfigError(f"epsilon={epsilon} must be at least 0, max_comparisons={max_comparisons} at least 1")
    select = partial(dual_threshold, theta_pos=theta_pos, theta_neg=theta_neg, off_diagonal=off_diagonal, trust=trust)
    positive, negative = select(batch, theta_off_pos=theta_off_pos, theta_off_neg=theta_off_neg)
    teacher = _rescale_teacher(scored_cells(batch)[0], spread=spread, teacher_std=teacher_std)
    weight = _label_trust(batch, positive, slope=teacher_slope, intercept=teacher_intercept) if trust else None
    grid = _Cells(batch.similarity, teacher, positive, negative, batch.pair_mask, weight)
    zones = partial(_margin_zones, margin=margin, gamma=gamma, epsilon=epsilon, limit=max_comparisons, active=active)
    if batch.teacher_grid is None:  # no cell off the diagonal is in a class
        return zones(grid.apply(Tensor.diagonal))
    cells = zones(grid.apply(Tensor.flatten), drop_pairs=apart)
    return zones(grid.apply(Tensor.diagonal)) + cells if apart else cells


class _Cells(NamedTuple):
    """Values of the cells that are compared: flat [L], or as a grid [N, M]."""

    similarity: Tensor
    teacher: Tensor
    positive: Tensor
    negative: Tensor
    pair_mask: Tensor
    weight: Tensor | None

    def apply(self, view: Callable[[Tensor], Tensor]) -> _Cells:
        """Return the cells with `view` applied to every tensor."""
        similarity, teacher, positive, negative, pair_mask = map(view, self[:5])
        weight = None if self.weight is None else view(self.weight)
        return _Cells(similarity, teacher, positive, negative, pair_mask, weight)


def _margin_zones(
    cells: _Cells,
    *,
    margin: float,
    gamma: float,
    epsilon: float,
    limit: int,
    active: bool,
    drop_pairs: bool = False,
) -> Tensor:
    """Return both lines of `margin_hinge` over the cells; `drop_pairs` leaves out comparisons of two cells of the diagonal."""
    mean = partial(_mean, cells, active=active, drop_pairs=drop_pairs)
    similarity, size = cells.similarity, len(cells.pair_mask)
    compared = cross_comparisons(cells.positive, cells.negative, limit=limit)
    higher, lower = compared.sides(similarity)
    between = (margin - (higher - lower)).relu()
    group = cells.negative.long() + 2 * cells.positive.long() - 1
    inside = ordered_comparisons(group, cells.teacher, gap=epsilon, most=size * (size - 1) // 2, limit=limit)
    shortfall = gamma * cells.teacher - similarity  # the same hinge with half of the operations
    higher, lower = inside.sides(shortfall)
    return mean(between, compared) + mean((higher - lower).relu(), inside)


def _mean(cells: _Cells, terms: Tensor, compared: Comparisons, *, active: bool, drop_pairs: bool) -> Tensor:
    valid, weight = compared.valid, None
    if drop_pairs:
        higher, lower = compared.sides(cells.pair_mask)
        valid = valid & ~(higher & lower)
    if active:
        valid = valid & (terms > 0)
    if cells.weight is not None:
        higher, lower = compared.sides(cells.weight)
        weight = higher * lower
    return mean_or_zero(terms, valid, weight)


def _label_trust(batch: MatchBatch, positive: Tensor, *, slope: float, intercept: float) -> Tensor:
    return class_probability(batch, positive, log_odds=teacher_log_odds(batch, slope=slope, intercept=intercept))


def _rescale_teacher(teacher: Tensor, *, spread: float | None, teacher_std: float | None) -> Tensor:
    if spread is None:
        return teacher
    if teacher_std is None or not (spread > 0 and teacher_std > 0):
        raise ConfigError(
            f"spread={spread} with teacher_std={teacher_std}: both must be above 0. A run sets teacher_std unless the "
            "teacher's scores of the labelled training pairs are all equal; set spread to null, or set teacher_std"
        )
    return teacher * (spread / teacher_std)


def margin_angular(
    batch: MatchBatch,
    *,
    theta_pos: float | None,
    theta_neg: float | None,
    margin_pos: float = 0.1,
    margin_neg: float = 0.1,
    temperature: float = 0.05,
    off_diagonal: str = "both",
    theta_off_pos: float | None = None,
    theta_off_neg: float | None = None,
    own_range: bool = False,
    teacher_low: float = -1.0,
    teacher_high: float = 1.0,
) -> Tensor:
    """Angular form: InfoNCE over each text's P and Q, with an angular margin that grows with the teacher's certainty.

    mean over i and p in P_i of -log( e^{z_ip / tau} / (e^{z_ip / tau} + sum over q in Q_i of e^{z_iq / tau}) ), the
    same over columns, then averaged. With theta = arccos S, positives have z = cos(theta + margin_pos g), negatives
    z = cos(theta - margin_neg g), margins in radians. g, the certainty, is linear from 0 at the pairs' threshold (without
    the filter midway between the extremes) to 1 at the extreme: T = 1 for positives and T = -1 for negatives, or with
    `own_range` the ends of the teacher's scores, teacher_high and teacher_low. Margins of 0 give InfoNCE.

    Rows without P or without Q are left out, and a direction without rows counts as 0. Needs left, right and
    teacher_grid: with pair scores only, no row has both classes and the loss would always be 0.
    Raises ConfigError for a temperature that is not above 0, and unless teacher_low < teacher_high.

    Source: ours, after the angular margins of ArcCSE (Zhang et al., ACL 2022) and KDMCSE (arXiv 2403.17486), which are
    baselines in the paper.
    """
    require_temperature(temperature)
    low, high = (teacher_low, teacher_high) if own_range else (-1.0, 1.0)
    if not low < high:
        raise ConfigError(f"teacher_low={low} must be below teacher_high={high}")
    batch.require("teacher_grid")
    teacher, similarity = scored_cells(batch)[0], batch.similarity
    select = partial(dual_threshold, theta_pos=theta_pos, theta_neg=theta_neg, off_diagonal=off_diagonal)
    positive, negative = select(batch, theta_off_pos=theta_off_pos, theta_off_neg=theta_off_neg)
    middle = (low + high) / 2
    sure_positive = _certainty(teacher, start=middle if theta_pos is None else theta_pos, end=high)
    sure_negative = _certainty(-teacher, start=-(middle if theta_neg is None else theta_neg), end=-low)
    pull = _cosine_of_larger_angle(similarity, margin_pos * sure_positive) / temperature
    # cos(x - m) = -cos((pi - x) + m)
    push = -_cosine_of_larger_angle(-similarity, margin_neg * sure_negative) / temperature
    rows = _row_contrast(pull, push, positive, negative)
    return (rows + _row_contrast(pull.T, push.T, positive.T, negative.T)) / 2


def _certainty(teacher: Tensor, *, start: float, end: float) -> Tensor:
    """Return 0 up to `start`, 1 from `end` on, linear in between."""
    return ((teacher - start) / max(end - start, 1e-6)).clamp(0, 1)


def _cosine_of_larger_angle(cosine: Tensor, angle: Tensor) -> Tensor:
    """Return cos(arccos(cosine) + angle), continued with slope 1 where the sum exceeds pi.

    Clamping the sum to pi would remove the gradient of the pairs that are most wrong; the cosines of an untrained
    language model are close to 1, so this could be every negative.
    """
    sine = (1 - cosine.square()).clamp(min=1e-6).sqrt()  # the root's slope at 0 is infinite
    rotated = cosine * angle.cos() - sine * angle.sin()
    return torch.where(cosine > -angle.cos(), rotated, cosine + angle.cos() - 1)


def _row_contrast(pull: Tensor, push: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    has_negative = negative.any(dim=1, keepdim=True)  # the gradient of the log-sum-exp of no value is NaN
    against = push.masked_fill(~negative & has_negative, -float("inf")).logsumexp(dim=1, keepdim=True)
    return mean_or_zero(softplus(against - pull), positive & has_negative)
