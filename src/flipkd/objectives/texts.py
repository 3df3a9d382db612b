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


def text_ids(batch: MatchBatch) -> Tensor | None:
    """Return [2N] the ids of the texts, equal for equal texts; None where the batch has none."""
    if batch.left_id is None or batch.right_id is None:
        return None
    return torch.cat([batch.left_id, batch.right_id[: len(batch.left_id)]])
