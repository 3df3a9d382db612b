"""Objectives of the similarities that use the labels alone: baselines that show the gain of the teacher.

S [N, M] are the student's similarities. The teacher's values are not used.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from flipkd.objectives.batch import MatchBatch, mean_or_zero, require_temperature


def cosent(batch: MatchBatch, *, temperature: float = 0.05) -> Tensor:
    """L = log( 1 + sum over positives i, negatives j of e^{(S_jj - S_ii) / tau} ), positives and negatives by label.

    The loss that fine-tunes the teachers by default, on the student's similarities. Pairs with an unknown label are left
    out; the loss of a batch without both classes is 0. Needs left, right and label.
    Raises ConfigError for a temperature that is not above 0.

    Source: CoSENT as in sentence-transformers (its scale of 20 is 1 / tau); discussed in AnglE, arXiv 2309.12871.
    """
    require_temperature(temperature)
    label, similarity = batch.require("label"), batch.pair_similarity / temperature
    gaps = (similarity[:, None] - similarity).masked_fill(~((label == 0)[:, None] & (label == 1)), -float("inf"))
    return torch.cat([similarity.new_zeros(1), gaps.flatten()]).logsumexp(dim=0)


def info_nce(batch: MatchBatch, *, temperature: float = 0.05) -> Tensor:
    """L = mean over positives i of -log( e^{S_ii / tau} / sum over j of e^{S_ij / tau} ); columns alike, averaged.

    Positives are by label; the sum is over the pair's own cell and the `negative_mask` cells, and a row without one is left
    out, as is a column. All other texts of the batch count as negatives, which is often wrong for questions and answers: with a
    teacher, `margin_angular` with margins of 0 leaves out the texts that the teacher finds close. Needs left, right and label.
    Raises ConfigError for a temperature that is not above 0.

    Source: van den Oord et al., arXiv 1807.03748; in both directions it is sentence-transformers'
    MultipleNegativesSymmetricRankingLoss.
    """
    require_temperature(temperature)
    positive, similarity, negative = batch.require("label") == 1, batch.similarity / temperature, batch.negative_mask
    count = len(positive)
    rows = diagonal_cross_entropy(similarity, negative, positive)
    return (rows + diagonal_cross_entropy(similarity.T[:count], negative.T[:count], positive)) / 2


def diagonal_cross_entropy(logits: Tensor, negative: Tensor, kept: Tensor) -> Tensor:
    """Return the mean over the kept rows i [N] that have a negative of -log softmax_i, over the diagonal and the negatives."""
    own = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    logs = log_softmax(logits.masked_fill(~(own | negative), -float("inf")), dim=1)
    return mean_or_zero(-logs.diagonal(), kept & negative.any(dim=1))
