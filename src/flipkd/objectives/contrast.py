"""Contrastive objectives of the student's vectors: a text against the other texts of the batch.

S [N, M] are the student's similarities; a_i and b_i are the texts of pair i. Positives are by label; the other texts of a row
are those of its `negative_mask` cells: no duplicate and no known match. Only `gaussian_decay_info_nce` uses a teacher.
"""

from __future__ import annotations

import torch
from torch import Tensor, where
from torch.nn.functional import dropout as drop
from torch.nn.functional import normalize, pad, softplus

from flipkd.errors import ConfigError
from flipkd.objectives.batch import LOWEST, MatchBatch, mean_or_zero, require_temperature
from flipkd.objectives.labels import diagonal_cross_entropy, info_nce
from flipkd.objectives.texts import equal_texts, or_equal, student_texts, texts_of_pairs


def passage_info_nce(batch: MatchBatch, *, alpha: float = 0.1, temperature: float = 0.05) -> Tensor:
    """L = (1 - alpha) info_nce + alpha mean over positives i of log( 1 + sum over j of e^{(cos(b_i, b_j) - S_ii) / tau} ).

    The sum is over the other texts j of row i: an answer is to be closer to its question than to other
    answers, so near-topic texts do not collapse. alpha 0 is `info_nce`. Needs left, right and label.
    Raises ConfigError for a temperature that is not above 0 or alpha outside 0 to 1.

    Source: PAIR (Ren et al., ACL Findings 2021, arXiv 2108.06027), whose alpha is 0.1.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha={alpha}: must be from 0 to 1")
    by_query = info_nce(batch, temperature=temperature)
    if alpha == 0:
        return by_query
    others = batch.negative_mask
    among = (_right_similarity(batch) / temperature).masked_fill(~others, LOWEST).logsumexp(dim=1)
    kept = (batch.require("label") == 1) & others.any(dim=1)
    by_passage = mean_or_zero(softplus(among - batch.pair_similarity / temperature), kept)
    return (1 - alpha) * by_query + alpha * by_passage


def adaptive_margin(batch: MatchBatch, *, detach_target: bool = False) -> Tensor:
    """L = mean over positives i and other texts j of [ (S_ii - S_ij) - (1 + cos(b_i, b_j)) / 2 ]^2.

    The student's own similarity of the two right-hand texts is the margin. As in the authors' code gradients pass through it
    unless `detach_target`. A baseline without a teacher and without settings of scale. Needs left, right and label.

    Source: adaptive relevance margins (Gienapp et al., ICTIR 2025, arXiv 2407.21515), with in-batch negatives.
    """
    target = (1 + _right_similarity(batch)) / 2
    gap = batch.pair_similarity[:, None] - batch.similarity
    terms = (gap - (target.detach() if detach_target else target)).square()
    return mean_or_zero(terms, (batch.require("label") == 1)[:, None] & batch.negative_mask)


def gaussian_decay_info_nce(batch: MatchBatch, *, sigma: float = 0.01, temperature: float = 0.05) -> Tensor:
    """L = mean over positives i of -log( e^{z_ii} / sum over j of e^{z_ij} ), z_ij = S_ij / tau (1 - w_ij), w_ii = 0.

    w_ij = e^{-(S_ij - T_ij)^2 / (2 sigma^2)} where S_ij <= T_ij, else 0, a constant: a text that the student already finds
    as far as the teacher does is pushed no further, so texts that only look like negatives do less harm. With sigma near 0
    it is InfoNCE of the rows. Needs left, right, label and teacher_grid. Raises ConfigError unless sigma and temperature
    are above 0.

    Source: GCSE (arXiv 2409.12887), there for one generated negative of each anchor, with a frozen encoder as reference
    and sigma in units of cosine / tau; in-batch negatives and the teacher are ours.
    """
    require_temperature(temperature)
    if not sigma > 0:
        raise ConfigError(f"sigma={sigma}: must be above 0; it is in units of cosines")
    similarity, negative = batch.similarity, batch.negative_mask
    gap = similarity.detach() - batch.teacher_similarity
    decay = where((gap <= 0) & negative, (-(gap / sigma).square() / 2).exp(), 0.0)
    return diagonal_cross_entropy(similarity / temperature * (1 - decay), negative, batch.require("label") == 1)


def attract_repel(batch: MatchBatch, *, margin_attract: float = 0.6, margin_repel: float = 0.0) -> Tensor:
    """L = mean over positives i of [margin_attract + max_j S_ij - S_ii]_+ + the same of negatives.

    Over negatives i it is the mean of [margin_repel + S_ii - min_j S_ij]_+. j are the other texts of the
    row, and of the column, averaged: a match is to be closer than the hardest other text, and a labelled non-match further
    than the most distant one. No gradient where the margins are met. Needs left, right and label.

    Source: Attract-Repel (Mrksic et al., TACL 2017, arXiv 1706.00374), with its margins. Its term that holds vectors near
    their origin is left out; `similarity_preserving` does that for the teacher's geometry.
    """
    label, pairs = batch.require("label"), batch.pair_similarity
    similarity, others = batch.similarity, batch.negative_mask
    total, count = pairs.new_zeros(()), len(label)
    for grid, mask in ((similarity, others), (similarity.T[:count], others.T[:count])):
        some = mask.any(dim=1)
        nearest = pad(grid.masked_fill(~mask, -2.0), (0, 1), value=-2.0).amax(dim=1)  # amax of no column is an error
        furthest = pad(grid.masked_fill(~mask, 2.0), (0, 1), value=2.0).amin(dim=1)
        total = total + mean_or_zero((margin_attract + nearest - pairs).relu(), some & (label == 1))
        total = total + mean_or_zero((margin_repel + pairs - furthest).relu(), some & (label == 0))
    return total / 2


def simcse(batch: MatchBatch, *, dropout: float = 0.1, temperature: float = 0.05) -> Tensor:
    """L = mean over the batch's texts u of -log( e^{cos(u', u'') / tau} / sum over texts v of e^{cos(u', v'') / tau} ).

    u' and u'' are two copies of a text's vector with different random zeros, a share `dropout`. Equal texts, and those that are
    the other text of a pair without the label of a non-match, are not in the sum. It spreads the vectors without a teacher.
    Needs left, right and label. Raises ConfigError for dropout outside 0 to 1 or a temperature that is not above 0.

    Source: SimCSE (Gao et al., EMNLP 2021, arXiv 2104.08821), whose dropout is inside the encoder; decoders have none, and
    dropout of the vector saves the second pass.
    """
    require_temperature(temperature)
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout={dropout}: must be at least 0 and below 1")
    texts, label = student_texts(batch), batch.require("label")
    first, second = (normalize(drop(texts, dropout), dim=1) for _ in range(2))
    negative = ~equal_texts(batch) & ~texts_of_pairs(batch, label != 0)
    with torch.autocast(texts.device.type, enabled=False):
        logits = first @ second.T / temperature
    return diagonal_cross_entropy(logits, negative, label.new_ones(len(texts), dtype=torch.bool))


def set_info_nce(batch: MatchBatch, *, temperature: float = 0.05) -> Tensor:
    """L = mean over texts u and others v of its set of log( 1 + sum over w of e^{(cos(u, w) - cos(u, v)) / tau} ).

    A set is the first text of a list and the second texts of its positives, also where a pair is swapped; w are the texts of
    other sets and labelled negatives. A text is a member of all sets that have it, and the second texts of unlabelled pairs
    are left out. Needs left, right, label and list_id. Raises ConfigError for a temperature that is not above 0.

    Source: inter-set contrast of SetCSE (Liu, ICLR 2024, arXiv 2404.17606) as supervised contrast with several
    positives (Khosla et al., NeurIPS 2020, arXiv 2004.11362).
    """
    require_temperature(temperature)
    label, lists = batch.require("label"), batch.require("list_id")
    texts, equal = student_texts(batch), equal_texts(batch)
    alone = -1 - torch.arange(len(label), device=label.device)  # a set of its own
    swapped = _swapped(batch)
    first = torch.cat([~swapped, swapped])
    member_of = where(first | (label == 1).repeat(2), lists.repeat(2), alone.repeat(2))
    same = or_equal(batch, member_of[:, None] == member_of)
    known = first | (label >= 0).repeat(2)
    positive, negative = same & ~equal & known, ~same & known
    with torch.autocast(texts.device.type, enabled=False):
        logits = texts @ texts.T / temperature
    against = logits.masked_fill(~negative, LOWEST).logsumexp(dim=1, keepdim=True)
    return mean_or_zero(softplus(against - logits), positive & known[:, None] & negative.any(dim=1, keepdim=True))


def _swapped(batch: MatchBatch) -> Tensor:
    """Return [N] bool: the right-hand text of a pair is the one that its list shares, so the pair was swapped."""
    lists = batch.list_mask
    if batch.left_id is None or batch.right_id is None:
        return torch.zeros_like(lists[:, 0])
    left, right = batch.left_id, batch.right_id[: len(lists)]
    in_left, in_right = (((side[:, None] == left) | (side[:, None] == right)) & lists for side in (left, right))
    return in_right.sum(dim=1) > in_left.sum(dim=1)


def _right_similarity(batch: MatchBatch) -> Tensor:
    """Return [N, M] the student's cosines of the right-hand text of each pair with all right-hand texts."""
    right, count = batch.require("right"), batch.shape[0]
    with torch.autocast(right.device.type, enabled=False):
        return right[:count].float() @ right.float().T
