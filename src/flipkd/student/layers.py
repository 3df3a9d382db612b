"""Hidden states of a student's layers at the position of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.progress import bar
from flipkd.student.model import Student
from flipkd.student.packing import last_states
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
    """Compute the output of every layer [layers, N, hidden] at the last token of each pair's prompt."""
    outputs: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    layers = student.language_model.get_decoder().layers
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    blocks = []
    try:
        with bar(len(left), progress, unit="pair") as shown:
            for start in range(0, len(left), batch_size):
                rows = slice(start, start + batch_size)
                batch = to_device(student.collate(left[rows], right[rows], return_embeddings=False), student.device)
                outputs.clear()
                student.hidden(batch)
                count = len(left[rows])
                blocks.append(torch.stack([last_states(one, batch)[:count].float().cpu() for one in outputs]))
                shown.update(count)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(blocks, dim=1).numpy()
