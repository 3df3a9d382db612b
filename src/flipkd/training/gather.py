"""The batches of all ranks as one, so that every text is compared with those of the whole step, whoever read them.

The loss is then the same number on every rank, and each rank's gradient is that of its own rows. DDP takes the mean of the
ranks' gradients where their sum is meant: what comes back to a rank is therefore multiplied by the number of ranks.
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
    """[n, K] of each rank -> [W * n, K] in the order of ranks."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        """The rows of all ranks."""
        context.rows = len(own)
        return _all_rows(own)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """The gradient of this rank's rows, times the number of ranks."""
        first = dist.get_rank() * context.rows
        return gradients[0][first : first + context.rows] * dist.get_world_size()


def gathered(batch: MatchBatch) -> MatchBatch:
    """The batch of N pairs on each of W ranks -> the same batch of W * N pairs on all, in the order of ranks.

    Every rank must have as many pairs (`sharding.RankBatches`), and as many right-hand texts as pairs. A teacher's grid is
    no part of it: it is made afterwards, from the vectors of all. Alone it is the batch itself.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return batch
    if batch.teacher_grid is not None or batch.shape[0] != batch.shape[1]:
        raise ValueError("what is gathered are pairs and their vectors; a grid is made of all of them afterwards")
    given = {field.name: getattr(batch, field.name) for field in fields(batch)}
    alike: dict[tuple[torch.dtype, bool], list[str]] = {}  # what travels together, for fewer messages
    for name, tensor in given.items():
        if tensor is not None:
            alike.setdefault((tensor.dtype, tensor.requires_grad), []).append(name)
    whole: dict[str, Tensor] = {}
    for (_, has_gradient), names in alike.items():
        columns = [given[name].unsqueeze(1) if given[name].dim() == 1 else given[name] for name in names]
        packed = torch.cat(columns, dim=1)
        everyone: Tensor = _GatherWithGradient.apply(packed) if has_gradient else _all_rows(packed)  # type: ignore[no-untyped-call]
        for name, part in zip(
            names, torch.split(everyone, [column.shape[1] for column in columns], dim=1), strict=True
        ):
            whole[name] = part.squeeze(1) if given[name].dim() == 1 else part
    return replace(batch, **whole)


@contextmanager
def shared_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """A block in which all ranks draw the same numbers, so that an objective that draws is one and the same everywhere.

    What a rank draws elsewhere, for dropout, stays its own. Alone nothing changes.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _all_rows(own: Tensor) -> Tensor:
    everyone = own.new_empty(dist.get_world_size() * len(own), *own.shape[1:])
    dist.all_gather_into_tensor(everyone, own.detach().contiguous())
    return everyone
