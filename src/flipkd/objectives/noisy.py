"""Objectives of the answer for teachers and labels that are wrong at times, or whose scores have no fixed scale.

s_i is logit(yes) - logit(no) of pair i and p_i its sigmoid; t_i are the teacher's log-odds and q_i their sigmoid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, where
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from flipkd.errors import ConfigError
from flipkd.objectives.answer import bernoulli_kl, teacher_log_odds
from flipkd.objectives.batch import MatchBatch, mean_or_zero, require_temperature

LOG_OF_0 = -4.0  # the authors' value of log 0 in the reverse cross-entropy


def jsd_kd(
    batch: MatchBatch, *, beta: float = 0.5, teacher_slope: float = 1.0, teacher_intercept: float = 0.0
) -> Tensor:
    """L = mean over pairs of beta KL(q || m) + (1 - beta) KL(p || m), m = beta q + (1 - beta) p, of Bernoulli distributions.

    Unlike `bernoulli_kd` it is bounded, by log 2 at beta 0.5, so a teacher that is sure and wrong does limited harm. Labels are
    not used. Needs answers and the teacher's pair scores or grid. Raises ConfigError unless 0 < beta < 1 and slope > 0.

    Source: the generalised Jensen-Shannon divergence of GKD (Agarwal et al., ICLR 2024, arXiv 2306.13649), here of one
    answer of one token, where the student's own text adds nothing.
    """
    if not 0 < beta < 1:
        raise ConfigError(
            f"beta={beta}: must be between 0 and 1; bernoulli_kd is the divergence that it approaches at 0"
        )
    teacher = teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    signs = torch.stack([torch.ones_like(teacher), -torch.ones_like(teacher)])
    log_q, log_p = logsigmoid(signs * teacher), logsigmoid(signs * batch.score)
    log_m = torch.logaddexp(log_q + math.log(beta), log_p + math.log(1 - beta))
    terms = beta * log_q.exp() * (log_q - log_m) + (1 - beta) * log_p.exp() * (log_p - log_m)
    return mean_or_zero(terms.sum(dim=0))


def standardised_kd(batch: MatchBatch, *, temperature: float = 1.0) -> Tensor:
    """L = mean over pairs of KL( Bernoulli(sigmoid(t'_i / tau)) || Bernoulli(sigmoid(s'_i / tau)) ), scores standardised.

    s' and t' are the scores minus their mean over the batch, divided by their standard deviation (plus 1e-5 in the root), so the
    offset and the scale of either do not matter, and the teacher needs no calibration. With two pairs only the order is left;
    the loss of one pair is 0. Needs answers and the teacher's pair scores or grid; labels are not used.
    Raises ConfigError for a temperature that is not above 0.

    Source: LumiNet (Hossain et al., arXiv 2310.03669), which standardises each class over the batch. Standardising the classes of
    one sample instead (arXiv 2403.01427) leaves no gradient with two classes.
    """
    require_temperature(temperature)
    teacher, student = _standardised(batch.teacher) / temperature, _standardised(batch.score) / temperature
    return mean_or_zero(bernoulli_kl(teacher, student))


def sample_fusion(batch: MatchBatch, *, teacher_slope: float = 1.0, teacher_intercept: float = 0.0) -> Tensor:
    """L = mean over pairs of w_i KL( Bernoulli(q_i) || Bernoulli(p_i) ) + (1 - w_i) (-log p_i of the label), w_i of the pair.

    w_i is the teacher's probability of the label: where the teacher contradicts it, the label trains the answer, else the
    teacher. An unlabelled pair has w_i = 1. Replaces `answer_cross_entropy` and `pairwise_pref_kl`. Needs answers, label and
    the teacher's pair scores or grid. Raises ConfigError for a slope that is not above 0.

    Source: the ratio per sample of TGeo-KD (Hu et al., ICLR 2024, arXiv 2312.15112), which learns it by a network and a
    held-out batch; the teacher's own probability in its place is ours.
    """
    label, score = batch.require("label"), batch.score
    teacher = teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    trust = where(label == 1, teacher.sigmoid(), (-teacher).sigmoid()).where(label >= 0, 1.0)
    by_label = binary_cross_entropy_with_logits(score, label.clamp(min=0).float(), reduction="none")
    return mean_or_zero(trust * bernoulli_kl(teacher, score) + (1 - trust) * by_label)


def hard_kd(
    batch: MatchBatch, *, confidence: float = 0.5, teacher_slope: float = 1.0, teacher_intercept: float = 0.0
) -> Tensor:
    """L = mean over pairs with max(q_i, 1 - q_i) >= confidence of -log p_i of the teacher's decision.

    The decision alone is learned, yes where q_i > 0.5, so the teacher's certainty does not matter beyond `confidence`. Labels
    are not used. The loss of no confident pair is 0. Needs answers and the teacher's pair scores or grid.
    Raises ConfigError for a slope that is not above 0 or confidence outside 0.5 to 1.

    Source: sequence-level distillation (Kim and Rush, EMNLP 2016, arXiv 1606.07947) of a sequence of one word.
    """
    if not 0.5 <= confidence <= 1:
        raise ConfigError(f"confidence={confidence}: must be from 0.5 to 1")
    teacher = teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    of_decision = where(teacher > 0, batch.score, -batch.score)
    return mean_or_zero(-logsigmoid(of_decision), teacher.abs().sigmoid() >= confidence)


def symmetric_cross_entropy(batch: MatchBatch, *, forward: float = 0.1, reverse: float = 1.0) -> Tensor:
    """L = mean over labelled pairs of forward (-log p_i of the label) + reverse 4 (1 - p_i of the label).

    The second term is bounded, so a wrong label pulls less. Replaces `answer_cross_entropy` where labels are noisy.
    Unlabelled pairs are left out; the loss of no labelled pair is 0. Needs answers and label.
    Raises ConfigError for a negative weight.

    Source: symmetric cross-entropy (Wang et al., ICCV 2019, arXiv 1908.06112), whose log 0 is -4 and weights are these;
    GOLD (arXiv 2403.19754) trains on generated pairs with it.
    """
    if not (forward >= 0 and reverse >= 0):
        raise ConfigError(f"forward={forward}, reverse={reverse}: both must be at least 0")
    label = batch.require("label")
    of_label = where(label == 1, batch.score, -batch.score)
    terms = forward * -logsigmoid(of_label) + reverse * -LOG_OF_0 * (-of_label).sigmoid()
    return mean_or_zero(terms, label >= 0)


def _standardised(scores: Tensor) -> Tensor:
    centred = scores - mean_or_zero(scores)
    return centred / (mean_or_zero(centred.square()) + 1e-5).sqrt()
