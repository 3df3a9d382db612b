"""The 2 N texts of a batch's pairs stacked, left texts first; texts of earlier steps (columns from N on) are left out."""

from __future__ import annotations

import torch
from torch import Tensor

from flipkd.objectives.batch import MatchBatch


def student_texts(batch: MatchBatch) -> Tensor:
    """Return [2N, D] the student's vectors, float32."""
    left, right = batch.require("left"), batch.require("right")
    return torch.cat([left, right[: len(left)]]).float()


def teacher_texts(batch: MatchBatch) -> Tensor:
    """Return [2N, d] the teacher's vectors, float32 constants."""
    left, right = batch.require("teacher_left"), batch.require("teacher_right")
    return torch.cat([left, right[: len(left)]]).detach().float()


def text_ids(batch: MatchBatch) -> Tensor:
    """Return [2N] the ids of the texts, equal for equal texts; without ids all texts are different."""
    left = batch.require("left")
    if batch.left_id is None or batch.right_id is None:
        return torch.arange(2 * len(left), device=left.device)
    return torch.cat([batch.left_id, batch.right_id[: len(left)]])


def equal_texts(batch: MatchBatch) -> Tensor:
    """Return [2N, 2N] bool: text u equals text v."""
    ids = text_ids(batch)
    return ids[:, None] == ids


def or_equal(batch: MatchBatch, related: Tensor) -> Tensor:
    """Return [2N, 2N] bool: texts u and v, or texts that equal them, are `related`; the same matrix of the batch's texts."""
    equal = equal_texts(batch).float()
    return equal @ related.float() @ equal > 0


def texts_of_pairs(batch: MatchBatch, pairs: Tensor) -> Tensor:
    """Return [2N, 2N] bool: texts u and v are the two texts of a pair in the mask `pairs` [N], also where they occur again."""
    one_way = torch.diag(pairs, len(pairs))
    return or_equal(batch, one_way | one_way.T)
