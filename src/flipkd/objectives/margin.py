"""Learning from pairs the teacher is sure of: apart between the classes, in the teacher's order inside each (L_MCL).

Two margin zones, between and inside the classes, adaptive to the teacher's scores, are the paper's (Li et al., ACL
2025, arXiv 2507.05617). Its formula is not public: both forms here are ours, the default is for an ablation to settle.
S [N, M] are the student's similarities, T [N, M] the teacher's; P and Q the positive and negative cells of
`dual_threshold`, P_i and Q_i those of row i.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch, mean_or_zero, require_temperature
from flipkd.objectives.comparisons import across, ordered
from flipkd.objectives.selection import dual_threshold, scored_cells


def margin_hinge(
    batch: MatchBatch,
    *,
    theta_pos: float | None,
    theta_neg: float | None,
    margin: float = 0.2,
    gamma: float = 0.5,
    epsilon: float = 0.05,
    max_comparisons: int = 65536,
) -> Tensor:
    """Hinge form: classes apart by `margin`, and inside each the teacher's gaps kept to a share of `gamma`.

    mean over p in P, q in Q of [margin - (S_p - S_q)]_+
    + mean over (u, v) in P x P and Q x Q with T_u - T_v > epsilon of [gamma (T_u - T_v) - (S_u - S_v)]_+

    Needs left, right and the teacher's grid or pair scores, the latter in about the range of cosines. A near-tie of
    the teacher asks nothing of the student. A mean over nothing is 0. Each mean takes all its comparisons or, above
    `max_comparisons`, that many drawn evenly by the default generator of the batch's device: memory is
    O(N M + max_comparisons).
    Raises ConfigError for epsilon below 0 or max_comparisons below 1. Source: ours, see the head of this file.
    """
    if not epsilon >= 0 or max_comparisons < 1:
        raise ConfigError(f"epsilon={epsilon} must be at least 0, max_comparisons={max_comparisons} at least 1")
    positive, negative = dual_threshold(batch, theta_pos=theta_pos, theta_neg=theta_neg)
    cells = [positive, negative, scored_cells(batch)[0], batch.similarity]
    pairs_alone = batch.teacher_grid is None  # no cell off the diagonal is in a class
    positive, negative, teacher, similarity = (x.diagonal() if pairs_alone else x.flatten() for x in cells)

    higher, lower, valid = across(positive, negative, limit=max_comparisons)
    between = mean_or_zero((margin - (similarity[higher] - similarity[lower])).relu(), valid)
    group, size = negative.long() + 2 * positive.long() - 1, len(positive)
    most = size * (size - 1) // 2
    higher, lower, valid = ordered(group, teacher, gap=epsilon, most=most, limit=max_comparisons)
    asked = gamma * teacher - similarity  # the same hinge with half of the look-ups
    return between + mean_or_zero((asked[higher] - asked[lower]).relu(), valid)


def margin_angular(
    batch: MatchBatch,
    *,
    theta_pos: float | None,
    theta_neg: float | None,
    margin_pos: float = 0.1,
    margin_neg: float = 0.1,
    temperature: float = 0.05,
) -> Tensor:
    """Angular form: InfoNCE over each text's P and Q, made harder by an angle that grows with the teacher's certainty.

    mean over i and p in P_i of -log( e^{z_ip / tau} / (e^{z_ip / tau} + sum over q in Q_i of e^{z_iq / tau}) ), the
    same over columns, then averaged. With theta = arccos S, positives pay z = cos(theta + margin_pos g), negatives
    z = cos(theta - margin_neg g), margins in radians; g, the certainty, is linear from 0 at the threshold (at T = 0
    without the filter) to 1 at the extreme (T = 1 for positives, T = -1 for negatives). Margins of 0 give InfoNCE.

    Rows without P or without Q are left out, and a direction without rows counts as 0. Needs left, right and
    teacher_grid: with pair scores only, no row could hold both classes and the loss would always be 0.
    Raises ConfigError for a temperature that is not above 0.

    Source: ours, after the angular margins of ArcCSE (Zhang et al., ACL 2022) and KDMCSE (arXiv 2403.17486).
    """
    require_temperature(temperature)
    teacher, similarity = batch.teacher_similarity, batch.similarity
    positive, negative = dual_threshold(batch, theta_pos=theta_pos, theta_neg=theta_neg)
    sure_positive = _certainty(teacher, threshold=theta_pos or 0.0)
    sure_negative = _certainty(-teacher, threshold=-(theta_neg or 0.0))
    pull = _lowered(similarity, margin_pos * sure_positive) / temperature
    push = -_lowered(-similarity, margin_neg * sure_negative) / temperature  # cos(x - m) = -cos((pi - x) + m)
    rows = _row_contrast(pull, push, positive, negative)
    return (rows + _row_contrast(pull.T, push.T, positive.T, negative.T)) / 2


def _certainty(teacher: Tensor, *, threshold: float) -> Tensor:
    """0 at the threshold and below, 1 at T = 1, linear between."""
    return ((teacher - threshold) / max(1 - threshold, 1e-6)).clamp(0, 1)


def _lowered(cosine: Tensor, angle: Tensor) -> Tensor:
    """cos(arccos(cosine) + angle), continued with slope 1 where the sum passes pi.

    Holding the sum at pi instead would take all gradient from the pairs that are most wrong; the cosines of an
    untrained language model lie near 1, so every negative could be one.
    """
    sine = (1 - cosine.square()).clamp(min=1e-6).sqrt()  # the root's slope at 0 is infinite
    turned = cosine * angle.cos() - sine * angle.sin()
    return torch.where(cosine > -angle.cos(), turned, cosine + angle.cos() - 1)


def _row_contrast(pull: Tensor, push: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    chosen = negative.any(dim=1, keepdim=True)  # the log-sum-exp of nothing has no gradient but NaN
    against = push.masked_fill(~negative & chosen, -float("inf")).logsumexp(dim=1, keepdim=True)
    return mean_or_zero(softplus(against - pull), positive & chosen)
