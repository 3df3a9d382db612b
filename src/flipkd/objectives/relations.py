"""Objectives of the relations between all texts of the batch, left and right: similarities, distances, angles.

The 2 N texts of the batch's pairs are stacked: student's embeddings e [2N, D] and teacher's f [2N, d]. D and d may
differ, because only the Gram matrices e e^T and f f^T are used. Labels are not used. All need left, right, teacher_left and
teacher_right; texts of earlier steps (columns from N on) are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, where
from torch.nn.functional import normalize, smooth_l1_loss

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch, mean_or_zero, require_temperature
from flipkd.objectives.comparisons import draw_with_replacement
from flipkd.objectives.pair_heads import student_products, teacher_products
from flipkd.objectives.texts import student_texts, teacher_texts, texts_of_pairs

MIN_DISTANCE = 1e-3  # of unit vectors: smaller distances are below the rounding of their products in float32
DUPLICATE_DISTANCE = 2 * MIN_DISTANCE  # texts whose teacher embeddings are closer count as one text


def similarity_preserving(batch: MatchBatch) -> Tensor:
    """L = |G_s - G_t|^2 / (2N)^2 (Frobenius), G = e e^T with rows of unit length, and the same of f.

    It is 0 for a rotated or scaled copy of the teacher's vectors. The values are small: its authors use weights in the
    thousands. Source: Tung and Mori, ICCV 2019, arXiv 1907.09682.
    """
    student, teacher = _grams(batch)
    return mean_or_zero((normalize(student, dim=1) - normalize(teacher, dim=1)).square())


def rkd_distance(batch: MatchBatch) -> Tensor:
    """L = mean over i != j of SmoothL1(|e_i - e_j| / mu_s, |f_i - f_j| / mu_t), mu the mean distance of the batch.

    It is 0 for a rotated, scaled or shifted copy of the teacher's vectors. The authors' code averages over all n^2 entries,
    including each text with itself, so its value is (n - 1) / n of this one.
    Source: relational distillation (Park et al., CVPR 2019, arXiv 1904.05068), whose weight for it is 1.
    """
    student, teacher = (_relative_distances(gram) for gram in _grams(batch))
    return mean_or_zero(smooth_l1_loss(student, teacher, reduction="none"), _off_diagonal(student))


def rkd_angle(batch: MatchBatch, *, max_comparisons: int = 65536) -> Tensor:
    """L = mean over distinct i, j, k of SmoothL1(cos of the angle at e_j between e_i and e_k, the same of f).

    It is 0 for a rotated, scaled or shifted copy of the teacher's vectors, and with fewer than three texts. Triples in which e_j
    equals one of the others have no angle and are left out. The mean takes all or, above `max_comparisons`,
    that many drawn uniformly by the default generator of the batch's device. The authors' code averages over all n^3 triples,
    so its value is (n - 1)(n - 2) / n^2 of this one. Raises ConfigError for max_comparisons below 1.
    Source: relational distillation (Park et al., CVPR 2019, arXiv 1904.05068), whose weight for it is 2.
    """
    if max_comparisons < 1:
        raise ConfigError(f"max_comparisons={max_comparisons} must be at least 1")
    student, teacher = _grams(batch)
    i, j, k = triples = _triples(len(student), limit=max_comparisons, device=student.device)
    distinct = _distances(teacher) > DUPLICATE_DISTANCE
    gaps = smooth_l1_loss(_cosines(student, triples), _cosines(teacher, triples), reduction="none")
    return mean_or_zero(gaps, distinct[i, j] & distinct[j, k])


def pkt(batch: MatchBatch) -> Tensor:
    """L = mean over texts i of KL( p_t(. | i) || p_s(. | i) ), p(j | i) in proportion to (1 + cos(e_i, e_j)) / 2 for j != i.

    The similarities of each text as probabilities, without a temperature. 0 for a rotated or scaled copy of the teacher's
    vectors. Source: probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv 1803.10837).
    """
    student, teacher = (_log_probability(gram) for gram in _grams(batch))
    terms = where(_off_diagonal(student), teacher.exp() * (teacher - student), 0.0)
    return mean_or_zero(terms.sum(dim=1))


def mixed_gram(batch: MatchBatch, *, label_weight: float = 0.5) -> Tensor:
    """L = mean over i != j of (cos(e_i, e_j) - G_ij)^2, G_ij = cos(f_i, f_j) but for the two texts of a labelled pair.

    For these, also where they occur again, G_ij = (1 - label_weight) cos(f_i, f_j) + label_weight y. With label_weight 0 the
    teacher's similarities alone are the target, with 1 the labels decide where they are known. Uses labels. Raises
    ConfigError for label_weight outside 0 to 1. Source: a Gram matrix of teacher and cluster labels merged (row 49 of the
    field); this form is ours, after Tung and Mori, arXiv 1907.09682.
    """
    if not 0 <= label_weight <= 1:
        raise ConfigError(f"label_weight={label_weight}: must be from 0 to 1")
    student, teacher = (_cosine_gram(gram) for gram in _grams(batch))
    label = batch.require("label")
    known, match = texts_of_pairs(batch, label >= 0), texts_of_pairs(batch, label == 1)
    target = where(known, (1 - label_weight) * teacher + label_weight * match, teacher)
    return mean_or_zero((student - target).square(), _off_diagonal(student))


def prototype_kd(batch: MatchBatch, *, temperature: float = 0.1) -> Tensor:
    """L = mean over pairs of KL( p_t || p_s ), p softmax over the classes k of cos(x_i, c_k) / tau, in each model's own space.

    x_i is the product of the two vectors of pair i, and c_k the mean x of the batch's pairs of label k, a constant. The
    student keeps how typical each pair is for a match and a non-match. A batch without both classes has loss 0. Uses
    labels for the means. Raises ConfigError for a temperature that is not above 0. Source: class relations (Gu et al.,
    ICCV 2023, arXiv 2307.09158) and class prototypes (ProKD), there of images and of words.
    """
    require_temperature(temperature)
    label, products = batch.require("label"), (student_products(batch), teacher_products(batch))
    members = torch.stack([label == 0, label == 1])
    log_student, log_teacher = (_log_prototypes(rows, members, temperature=temperature) for rows in products)
    both = members.any(dim=1).all().expand(len(label))
    return mean_or_zero((log_teacher.exp() * (log_teacher - log_student)).sum(dim=1), both)


def _log_prototypes(rows: Tensor, members: Tensor, *, temperature: float) -> Tensor:
    """Return [N, 2] the log-softmax of the cosines of rows [N, D] with the mean of each class; members [2, N] bool."""
    with torch.autocast(rows.device.type, enabled=False):
        means = (members.float() @ rows.detach()) / members.sum(dim=1, keepdim=True).clamp(min=1)
        cosines = normalize(rows, dim=1, eps=1e-6) @ normalize(means, dim=1, eps=1e-6).T
    return (cosines / temperature).log_softmax(dim=1)


def _cosine_gram(gram: Tensor) -> Tensor:
    """Return the cosines of the vectors of a Gram matrix."""
    length = gram.diagonal().clamp(min=MIN_DISTANCE**2).sqrt()
    return gram / (length[:, None] * length)


def _log_probability(gram: Tensor) -> Tensor:
    """Return the logarithm of (1 + cosine) / 2 off the diagonal, divided by the sum of its row."""
    affinity = ((1 + _cosine_gram(gram)) / 2).clamp(min=MIN_DISTANCE**2)
    logs = affinity.log().masked_fill(~_off_diagonal(gram), -float("inf"))
    return logs.log_softmax(dim=1).where(_off_diagonal(gram), 0.0)


def _grams(batch: MatchBatch) -> tuple[Tensor, Tensor]:
    """Return the inner products [2N, 2N] of the student's and of the teacher's embeddings, float32 even under autocast."""
    student, teacher = student_texts(batch), teacher_texts(batch)
    with torch.autocast(student.device.type, enabled=False):
        return student @ student.T, teacher @ teacher.T


def _relative_distances(gram: Tensor) -> Tensor:
    """Return the distances divided by their mean off the diagonal."""
    distances = _distances(gram)
    return distances / mean_or_zero(distances, _off_diagonal(gram))


def _off_diagonal(square: Tensor) -> Tensor:
    """Return a mask of the cells off the diagonal."""
    return ~torch.eye(len(square), dtype=torch.bool, device=square.device)


def _distances(gram: Tensor) -> Tensor:
    length = gram.diagonal()
    squared = length[:, None] + length - 2 * gram
    return squared.clamp(min=MIN_DISTANCE**2).sqrt()  # equal texts; the root's slope at 0 is infinite


def _cosines(gram: Tensor, triples: Tensor) -> Tensor:
    """Return the cosine of the angle at j between i and k, for triples [3, n] of (i, j, k)."""
    i, j, k = triples
    distance = _distances(gram)
    cosine = (gram[i, k] - gram[i, j] - gram[j, k] + gram[j, j]) / (distance[i, j] * distance[j, k])
    return cosine.clamp(-1, 1)  # of nearly equal embeddings it is dominated by rounding


def _triples(count: int, *, limit: int, device: torch.device) -> Tensor:
    """Return triples [3, n] of distinct numbers below `count`: all of them, or `limit` drawn with replacement."""
    total = count * (count - 1) * (count - 2)
    flat = (
        torch.arange(total, device=device)
        if total <= limit
        else draw_with_replacement(total, size=limit, device=device)
    )
    flat, third = flat // max(count - 2, 1), flat % max(count - 2, 1)
    first, second = flat // max(count - 1, 1), flat % max(count - 1, 1)
    second = second + (second >= first)
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    third = third + (third >= low)
    third = third + (third >= high)
    return torch.stack([second, first, third])
