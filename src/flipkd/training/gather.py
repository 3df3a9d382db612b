"""All-gather of the batches of all ranks, so that every text is compared with all texts of the step.

The loss is then the same number on every rank, and each rank's gradient is that of its own rows. DDP averages the
ranks' gradients, but their sum is needed: so the gradient of each rank is multiplied by the number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from flipkd.objectives import MatchBatch


class _GatherWithGradient(torch.autograd.Function):
    """All-gather with a gradient: [n, K] of each of W ranks -> [W * n, K] in the order of ranks."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        """Return the rows of all ranks."""
        context.rows = len(own)
        return _all_gather(own)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient of this rank's rows, times the number of ranks."""
        first = dist.get_rank() * context.rows
        return gradients[0][first : first + context.rows] * dist.get_world_size()


def gather_batches(batch: MatchBatch) -> MatchBatch:
    """Return the batch of the W * N pairs of all W ranks, in the order of ranks; on one process the batch itself.

    Every rank must have the same number N of pairs (`sharding.RankBatches`), and N right-hand texts. The batch must not
    have a teacher_grid, which is made afterwards from all embeddings: ValueError.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return batch
    if batch.teacher_grid is not None or batch.shape[0] != batch.shape[1]:
        raise ValueError(
            "gather_batches takes N pairs with N right-hand texts and no teacher_grid; make the grid afterwards"
        )
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    groups: dict[tuple[torch.dtype, bool], list[str]] = {}  # gathered together, for fewer messages
    for name, tensor in tensors.items():
        if tensor is not None:
            groups.setdefault((tensor.dtype, tensor.requires_grad), []).append(name)
    columns_of_all: dict[str, Tensor] = {}
    for (_, has_gradient), names in groups.items():
        columns = [tensors[name].reshape(len(tensors[name]), -1) for name in names]
        packed = torch.cat(columns, dim=1)
        gathered: Tensor = _GatherWithGradient.apply(packed) if has_gradient else _all_gather(packed)  # type: ignore[no-untyped-call]
        parts = torch.split(gathered, [column.shape[1] for column in columns], dim=1)
        for name, part in zip(names, parts, strict=True):
            columns_of_all[name] = part.reshape(-1, *tensors[name].shape[1:])
    return replace(batch, **columns_of_all)


@contextmanager
def shared_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Context manager in which all ranks draw the same random numbers, so that an objective that draws is equal on all.

    Outside of it each rank has its own random state, for example for dropout. On one process nothing changes.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _all_gather(own: Tensor) -> Tensor:
    gathered = own.new_empty(dist.get_world_size() * len(own), *own.shape[1:])
    dist.all_gather_into_tensor(gathered, own.detach().contiguous())
    return gathered
