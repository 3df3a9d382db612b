"""Objectives of the relations between all texts of the batch, left and right: similarities, distances, angles.

The 2 N texts of the batch's pairs are stacked: student's embeddings e [2N, D] and teacher's f [2N, d]. D and d may
differ, because only the Gram matrices e e^T and f f^T are used. Labels are not used. All need left, right, teacher_left and
teacher_right; texts of earlier steps (columns from N on) are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch, mean_or_zero
from flipkd.objectives.comparisons import draw_with_replacement

MIN_DISTANCE = 1e-3  # of unit vectors: smaller distances are below the rounding of their products in float32
DUPLICATE_DISTANCE = 2 * MIN_DISTANCE  # texts whose teacher embeddings are closer count as one text


def similarity_preserving(batch: MatchBatch) -> Tensor:
    """L = |G_s - G_t|^2 / (2N)^2 (Frobenius), G = e e^T with rows of unit length, and the same of f.

    It is 0 for a rotated or scaled copy of the teacher's vectors. The values are small: its authors use weights in the
    thousands. Source: Tung and Mori, ICCV 2019, arXiv 1907.09682.
    """
    student, teacher = _grams(batch)
    return (normalize(student, dim=1) - normalize(teacher, dim=1)).square().mean()


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


def _grams(batch: MatchBatch) -> tuple[Tensor, Tensor]:
    """Return the inner products [2N, 2N] of the student's and of the teacher's embeddings, float32 even under autocast."""
    left, right = batch.require("left"), batch.require("right")
    teacher_left, teacher_right = batch.require("teacher_left"), batch.require("teacher_right")
    with torch.autocast(left.device.type, enabled=False):
        student = torch.cat([left, right[: len(left)]]).float()
        teacher = torch.cat([teacher_left, teacher_right[: len(left)]]).detach().float()
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
