"""Objectives of lists: the candidates of one query, which are the pairs of a batch with one first text.

A list with fewer than two candidates in the batch teaches nothing and is left out. The sampler keeps lists together. s_i is
logit(yes) - logit(no) of pair i, S_ii the similarity of its texts, t_i the teacher's log-odds.
"""

from __future__ import annotations

from torch import Tensor, where
from torch.nn.functional import softplus

from flipkd.objectives.answer import teacher_log_odds
from flipkd.objectives.batch import LOWEST, MatchBatch, mean_or_zero, require_temperature


def list_kl(
    batch: MatchBatch,
    *,
    temperature_student: float = 1.0,
    temperature_teacher: float = 1.0,
    teacher_slope: float = 1.0,
    teacher_intercept: float = 0.0,
) -> Tensor:
    """L = mean over lists of KL( softmax_i(t_i / tau_t) || softmax_i(s_i / tau_s) ), the softmax over a list's candidates.

    Adding a constant to all scores of a list changes nothing. Labels are not used. Needs answers, list_id and the teacher's
    pair scores or grid. 0 at a perfect match. Raises ConfigError for a temperature or slope that is not above 0.

    Source: list-wise distillation, for example Translate-Distill (Yang et al., ECIR 2024, arXiv 2401.04810).
    """
    require_temperature(temperature_student, "temperature_student")
    require_temperature(temperature_teacher, "temperature_teacher")
    teacher = teacher_log_odds(batch, slope=teacher_slope, intercept=teacher_intercept)
    return _kl(teacher / temperature_teacher, batch.score / temperature_student, batch.list_mask)


def list_softmax(batch: MatchBatch, *, temperature: float = 1.0) -> Tensor:
    """L = mean over positives i of -log( e^{s_i / tau} / (e^{s_i / tau} + sum over negatives j of its list of e^{s_j / tau}) ).

    Positives and negatives are by label; a positive without a negative in its list is left out. Needs answers, label and
    list_id, no teacher. Raises ConfigError for a temperature that is not above 0.

    Source: the reranker's loss of RocketQAv2 (Ren et al., EMNLP 2021, arXiv 2110.07367).
    """
    require_temperature(temperature)
    label, scores = batch.require("label"), batch.score / temperature
    negative = batch.list_mask & (label == 0)
    negatives = scores.expand(len(scores), -1).masked_fill(~negative, LOWEST).logsumexp(dim=1)
    return mean_or_zero(softplus(negatives - scores), (label == 1) & negative.any(dim=1))


def joint_lists(
    batch: MatchBatch, *, temperature: float = 0.05, temperature_answer: float = 1.0, detach_answer: bool = False
) -> Tensor:
    """L = mean over lists of KL( softmax_i(s_i / tau_a) || softmax_i(S_ii / tau) ): the answer and the vectors agree.

    Both learn from each other or, with `detach_answer`, only the vectors. Use it beside an objective of the answer: alone it is
    0 where both are constant. Needs answers, left, right and list_id. Raises ConfigError for a temperature that is not above 0.

    Source: dynamic list-wise distillation of RocketQAv2 (Ren et al., EMNLP 2021, arXiv 2110.07367), there between a
    reranker and a retriever.
    """
    require_temperature(temperature)
    require_temperature(temperature_answer, "temperature_answer")
    answer = batch.score / temperature_answer
    return _kl(answer.detach() if detach_answer else answer, batch.pair_similarity / temperature, batch.list_mask)


def self_distill_heads(batch: MatchBatch, *, temperature: float = 0.05, temperature_answer: float = 1.0) -> Tensor:
    """L = mean over lists of the mean of KL(P || softmax(s / tau_a)) and KL(P || softmax(S / tau)), P of their sum, a constant.

    P = softmax( s / tau_a + S / tau ): the sum of both scores is a better teacher than either. Needs answers, left, right
    and list_id. Raises ConfigError for a temperature that is not above 0.

    Source: self-knowledge distillation of M3-Embedding (Chen et al., ACL Findings 2024, arXiv 2402.03216), there of
    dense, sparse and multi-vector scores; the divergence in place of the cross-entropy, whose gradient is equal, is ours.
    """
    require_temperature(temperature)
    require_temperature(temperature_answer, "temperature_answer")
    answer, similarity = batch.score / temperature_answer, batch.pair_similarity / temperature
    both = (answer + similarity).detach()
    return (_kl(both, answer, batch.list_mask) + _kl(both, similarity, batch.list_mask)) / 2


def _kl(teacher: Tensor, student: Tensor, list_mask: Tensor) -> Tensor:
    """Return the mean over lists of KL(softmax(teacher) || softmax(student)); scores [N], list_mask [N, N]."""
    size = list_mask.sum(dim=1)
    log_teacher, log_student = _log_softmax(teacher, list_mask), _log_softmax(student, list_mask)
    terms = log_teacher.exp() * (log_teacher - log_student)  # exactly 0 for a list of one
    lists = where(size > 1, 1 / size, 0.0).sum()
    return terms.sum() / lists.clamp(min=1)


def _log_softmax(scores: Tensor, list_mask: Tensor) -> Tensor:
    """Return [N] the logarithm of each score's softmax over its own list."""
    return scores - scores.expand(len(scores), -1).masked_fill(~list_mask, LOWEST).logsumexp(dim=1)
