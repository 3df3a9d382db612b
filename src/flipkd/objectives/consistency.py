"""Objective of the answer to both orders of a pair: the texts (a, b) and (b, a) are one question."""

from __future__ import annotations

import torch
from torch import Tensor

from flipkd.objectives.batch import MatchBatch, mean_or_zero


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
