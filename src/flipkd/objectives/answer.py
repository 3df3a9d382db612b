"""Learning what to answer: from the labels, and from the teacher's probability of a match."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid, softplus

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch, mean_or_zero


def answer_cross_entropy(batch: MatchBatch) -> Tensor:
    """L_answer = mean over labelled pairs of -log softmax(z_i)[y_i], z_i [2] the logits of (no, yes), y_i the label.

    Needs answers and label; pairs with an unknown label (-1) are left out, and none labelled gives 0. The answer in
    words is the paper's (Li et al., ACL 2025, arXiv 2507.05617); the softmax over the two label words alone is ours.
    """
    answers, label = batch.require("answers"), batch.require("label")
    labelled = label >= 0
    logits = answers.float().where(labelled[:, None], 0.0)  # what an unlabelled pair is answered has no say at all
    return mean_or_zero(cross_entropy(logits, label.clamp(min=0), reduction="none"), labelled)


def bernoulli_kd(batch: MatchBatch, *, teacher_slope: float = 1.0, teacher_intercept: float = 0.0) -> Tensor:
    """L = mean over pairs of KL( Bernoulli(q_i) || Bernoulli(p_i) ), p_i = sigmoid(s_i), q_i = sigmoid(teacher's log-odds).

    s_i = logit(yes) - logit(no), so p_i is the answer's own softmax; the teacher's log-odds are
    teacher_slope T_ii + teacher_intercept, its calibration, which a run fits on validation. Needs answers and the
    teacher's pair scores or grid; labels are not looked at, so pairs without one teach too. 0 at a perfect match.
    Raises ConfigError for a slope that is not above 0.

    Source: per-label binary distillation (Yang et al., ICCV 2023, arXiv 2308.06453), on the one label of a match.
    """
    return mean_or_zero(
        _bernoulli_kl(teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept), batch.score)
    )


def margin_mse(batch: MatchBatch, *, teacher_slope: float = 1.0, teacher_intercept: float = 0.0) -> Tensor:
    """L = mean over a positive i and a negative j of [ (s_i - s_j) - (t_i - t_j) ]^2, t the teacher's log-odds.

    Positives and negatives are by label; s and t as in `bernoulli_kd`. Only gaps count: a constant added to all of s
    changes nothing. A batch without both classes gives 0. Needs answers, label and the teacher's pair scores or grid.
    Raises ConfigError for a slope that is not above 0.

    Source: margin-MSE (Hofstaetter et al., arXiv 2010.02666); comparing across the pairs of a batch, where it compares
    the documents of one query, and log-odds instead of raw scores are ours.
    """
    gap = batch.score - teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    label = batch.require("label")
    return mean_or_zero((gap[:, None] - gap).square(), (label == 1)[:, None] & (label == 0))


def pairwise_pref_kl(batch: MatchBatch, *, teacher_slope: float = 1.0, teacher_intercept: float = 0.0) -> Tensor:
    """L = mean over i != j of KL( Bernoulli(sigmoid(t_i - t_j)) || Bernoulli(sigmoid(s_i - s_j)) ), t the teacher's log-odds.

    Which of two pairs is more of a match, and how sure the teacher is of it; s and t as in `bernoulli_kd`. Like
    `margin_mse` it asks for gaps alone, but no gap that the teacher is sure of anyway dominates, and labels are not
    looked at. One pair gives 0. Needs answers and the teacher's pair scores or grid. Raises ConfigError for a slope
    that is not above 0.

    Source: pairwise relevance distillation (Huang and Chen, EMNLP 2024, arXiv 2410.01383), whose two candidates belong
    to one query; comparing across the pairs of a batch is ours.
    """
    teacher = teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    student = batch.score
    other = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    return mean_or_zero(_bernoulli_kl(teacher[:, None] - teacher, student[:, None] - student), other)


def ranknet_distill(batch: MatchBatch) -> Tensor:
    """L = mean over i, j with T_ii > T_jj of log(1 + e^{-(s_i - s_j)}): the teacher's order of the pairs, and no more.

    s as in `bernoulli_kd`; any increasing function of T gives the same loss. log 2 at equal scores; without two pairs
    that the teacher tells apart it is 0. Needs answers and the teacher's pair scores or grid; labels are not looked at.

    Source: RankNet on a teacher's order for an LLM's yes (Sun et al., arXiv 2311.01555), there over the documents of
    one query; comparing across the pairs of a batch is ours.
    """
    student, teacher = batch.score, batch.teacher
    return mean_or_zero(softplus(student - student[:, None]), teacher[:, None] > teacher)


def _bernoulli_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL( Bernoulli(sigmoid(teacher)) || Bernoulli(sigmoid(student)) ) for each entry of two tensors of log-odds."""
    probability = teacher.sigmoid()
    entropy = -(probability * logsigmoid(teacher) + (1 - probability) * logsigmoid(-teacher))
    return binary_cross_entropy_with_logits(student, probability, reduction="none") - entropy


def teacher_log_odds(batch: MatchBatch, *, slope: float, intercept: float) -> Tensor:
    """[N] the teacher's log-odds that each pair matches, slope T_ii + intercept. Raises ConfigError for a slope of 0 or less."""
    if not slope > 0:
        raise ConfigError(f"teacher_slope={slope}: must be above 0, or a higher score would mean less of a match")
    return slope * batch.teacher + intercept
