"""Hidden states of a student's layers at the position of the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.progress import bar
from flipkd.student.model import Student
from flipkd.student.rows import to_device

BATCH = 32


@torch.no_grad()
def layer_states(
    student: Student,
    left: Sequence[str],
    right: Sequence[str],
    *,
    batch_size: int = BATCH,
    progress: str | None = None,
) -> NDArray[np.float32]:
    """Compute the states after each layer [layers, N, hidden] at the last token of each pair's prompt.

    The last states are those after the final norm.
    """
    blocks = []
    with bar(len(left), progress, unit="pair") as shown:
        for start in range(0, len(left), batch_size):
            rows = slice(start, start + batch_size)
            batch = to_device(student.collate(left[rows], right[rows], return_embeddings=False), student.device)
            blocks.append(student(batch, return_embeddings=False, return_layers=True).layers.float().cpu())
            shown.update(len(blocks[-1]))
    return torch.cat(blocks).transpose(0, 1).numpy()
