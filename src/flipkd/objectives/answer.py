"""Objectives of the student's yes/no answer: from the labels, from the teacher's probability, and from both orders."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid, softplus

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch, mean_or_zero


def answer_cross_entropy(batch: MatchBatch) -> Tensor:
    """L_answer = mean over labelled pairs of -log softmax(z_i)[y_i], z_i [2] the logits of (no, yes), y_i the label.

    Needs answers and label. Pairs with an unknown label (-1) are left out; the loss of no labelled pair is 0. The answer in
    label words is the paper's (Li et al., ACL 2025, arXiv 2507.05617); the softmax over the two label words alone is ours.
    """
    answers, label = batch.require("answers"), batch.require("label")
    labelled = label >= 0
    logits = answers.float().where(labelled[:, None], 0.0)  # an unlabelled pair has no influence, not even by NaN
    return mean_or_zero(cross_entropy(logits, label.clamp(min=0), reduction="none"), labelled)


def bernoulli_kd(batch: MatchBatch, *, teacher_slope: float = 1.0, teacher_intercept: float = 0.0) -> Tensor:
    """L = mean over pairs of KL( Bernoulli(q_i) || Bernoulli(p_i) ), p_i = sigmoid(s_i), q_i = sigmoid(teacher's log-odds).

    s_i = logit(yes) - logit(no), so p_i is the answer's own softmax; the teacher's log-odds are
    teacher_slope T_ii + teacher_intercept, its calibration, which a run fits on validation. Needs answers and the
    teacher's pair scores or grid; labels are not used, so unlabelled pairs count too. 0 at a perfect match.
    Raises ConfigError for a slope that is not above 0.

    Source: per-label binary distillation (Yang et al., ICCV 2023, arXiv 2308.06453), on the one label of a match.
    """
    return mean_or_zero(
        bernoulli_kl(teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept), batch.score)
    )


def answer_with_teacher(
    batch: MatchBatch, *, teacher_weight: float = 1.0, teacher_slope: float = 1.0, teacher_intercept: float = 0.0
) -> Tensor:
    """L = mean over labelled pairs of -log Bernoulli(sigmoid(s_i + teacher_weight t_i))[y_i], t the teacher's log-odds.

    The teacher's term is a constant, so the student learns what the teacher does not know: where the teacher alone is right
    and sure, the gradient is small. The score of the pair is then the sum, so the matcher has to keep the teacher. s and t as
    in `bernoulli_kd`; with out-of-fold scores t is that of a teacher which did not see the pair. Pairs with an unknown label
    (-1) are left out; the loss of no labelled pair is 0. Needs answers, label and the teacher's pair scores or grid.
    Raises ConfigError for a slope that is not above 0 or a negative teacher_weight.

    Source: product of experts (Hinton, Neural Computation 2002), one of them fixed, as for a biased model in Clark et al.
    (EMNLP 2019, arXiv 1909.03683), which is dropped after training; keeping it, because it is a good model, is ours.
    """
    if not teacher_weight >= 0:
        raise ConfigError(f"teacher_weight={teacher_weight}: must be at least 0")
    label = batch.require("label")
    labelled = label >= 0
    teacher = teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    log_odds = (batch.score + teacher_weight * teacher).where(labelled, 0.0)
    terms = binary_cross_entropy_with_logits(log_odds, label.clamp(min=0).float(), reduction="none")
    return mean_or_zero(terms, labelled)


def margin_mse(
    batch: MatchBatch, *, lists: bool = False, teacher_slope: float = 1.0, teacher_intercept: float = 0.0
) -> Tensor:
    """L = mean over a positive i and a negative j of [ (s_i - s_j) - (t_i - t_j) ]^2, t the teacher's log-odds.

    Positives and negatives are by label; s and t as in `bernoulli_kd`. Only gaps count: adding a constant to all of s
    changes nothing. The loss of a batch without both classes is 0. With `lists` only the candidates of one query are
    compared, and list_id is needed. Needs answers, label and the teacher's pair scores or grid.
    Raises ConfigError for a slope that is not above 0.

    Source: margin-MSE (Hofstaetter et al., arXiv 2010.02666); comparing across the pairs of a batch, where it compares
    the documents of one query (`lists`), and log-odds instead of raw scores are ours.
    """
    gap = batch.score - teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    label = batch.require("label")
    compared = (label == 1)[:, None] & (label == 0)
    return mean_or_zero((gap[:, None] - gap).square(), compared & batch.list_mask if lists else compared)


def pairwise_pref_kl(
    batch: MatchBatch, *, lists: bool = False, teacher_slope: float = 1.0, teacher_intercept: float = 0.0
) -> Tensor:
    """L = mean over i != j of KL( Bernoulli(sigmoid(t_i - t_j)) || Bernoulli(sigmoid(s_i - s_j)) ), t the teacher's log-odds.

    It teaches which of two pairs is more likely a match, and how sure the teacher is; s and t as in `bernoulli_kd`. Like
    `margin_mse` it uses gaps alone, but a very large gap of the teacher does not dominate, and labels are not
    used. The loss of one pair is 0. With `lists` only the candidates of one query are compared, and list_id is needed. Needs
    answers and the teacher's pair scores or grid. Raises ConfigError for a slope that is not above 0.

    Source: pairwise relevance distillation (Huang and Chen, EMNLP 2024, arXiv 2410.01383), whose two candidates belong
    to one query (`lists`); comparing across the pairs of a batch is ours.
    """
    teacher = teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    student = batch.score
    other = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    compared = other & batch.list_mask if lists else other
    return mean_or_zero(bernoulli_kl(teacher[:, None] - teacher, student[:, None] - student), compared)


def ranknet_distill(batch: MatchBatch, *, lists: bool = False) -> Tensor:
    """L = mean over i, j with T_ii > T_jj of log(1 + e^{-(s_i - s_j)}): the teacher's order of the pairs alone.

    s as in `bernoulli_kd`; any increasing function of T gives the same loss. It is log 2 at equal scores, and 0 without two pairs
    whose teacher scores differ. Needs answers and the teacher's pair scores or grid; labels are not used. With `lists` only the
    candidates of one query are compared, and list_id is needed.

    Source: RankNet on a teacher's order for an LLM's yes (Sun et al., arXiv 2311.01555), there over the documents of
    one query (`lists`); comparing across the pairs of a batch is ours.
    """
    student, teacher = batch.score, batch.teacher
    closer = teacher[:, None] > teacher
    return mean_or_zero(softplus(student - student[:, None]), closer & batch.list_mask if lists else closer)


def order_consistency(batch: MatchBatch) -> Tensor:
    """L = mean over pairs in both orders of [ KL(p || p') + KL(p' || p) ] / 2 = (p - p') (s - s') / 2.

    p = sigmoid(s) of (a, b) and p' = sigmoid(s') of (b, a), s as in `bernoulli_kd`; both get a gradient. It is 0 when the
    answers agree, and for a batch without both orders of any pair. Labels and teacher are not used. Needs answers and pair_id: a
    run with this objective reads both orders of a pair in one batch. Only for pairs without a direction.

    Source: R-Drop (Liang et al., NeurIPS 2021, arXiv 2106.14448), whose two passes differ by their dropout instead of the order.
    """
    score, pair = batch.score, batch.require("pair_id")
    later = torch.ones(len(pair), len(pair), dtype=torch.bool, device=pair.device).triu(1)
    probability = score.sigmoid()
    terms = (probability[:, None] - probability) * (score[:, None] - score) / 2
    return mean_or_zero(terms, (pair[:, None] == pair) & later)


def bernoulli_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL( Bernoulli(sigmoid(teacher)) || Bernoulli(sigmoid(student)) ) for each entry of two tensors of log-odds."""
    probability = teacher.sigmoid()
    entropy = -(probability * logsigmoid(teacher) + (1 - probability) * logsigmoid(-teacher))
    return binary_cross_entropy_with_logits(student, probability, reduction="none") - entropy


def teacher_log_odds(batch: MatchBatch, *, slope: float, intercept: float) -> Tensor:
    """Return [N] the teacher's log-odds of a match, slope T_ii + intercept. Raises ConfigError unless slope is above 0."""
    if not slope > 0:
        raise ConfigError(
            f"teacher_slope={slope}: must be above 0, because a higher teacher score must mean a more likely match"
        )
    return slope * batch.teacher + intercept
