"""Which cells are compared with which, as index vectors: all comparisons, or as many as memory allows, drawn evenly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def across(positives: Tensor, negatives: Tensor, *, limit: int) -> tuple[Tensor, Tensor]:
    """Comparisons (p, q) of a positive with a negative cell."""
    count = max(len(negatives), 1)
    flat = take(len(positives) * len(negatives), limit=limit).to(positives.device)
    return positives[flat // count], negatives[flat % count]


def ordered(groups: Sequence[Tensor], teacher: Tensor, *, gap: float, limit: int) -> tuple[Tensor, Tensor]:
    """Comparisons (u, v) of two cells of one group with T_v < T_u - gap.

    groups: index vectors into teacher, at least one. There can be very many comparisons, so they are numbered without
    being listed: sorted by T, the cells that u is compared with are the first `counts[u]` of its group.
    """
    by_score = [cells[teacher[cells].argsort()] for cells in groups]
    counts = torch.cat([torch.searchsorted(teacher[cells], teacher[cells] - gap) for cells in by_score])
    sizes = torch.tensor([len(cells) for cells in by_score], device=teacher.device)
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    cells, ends = torch.cat(by_score), counts.cumsum(0)
    flat = take(int(counts.sum()), limit=limit).to(cells.device)
    higher = torch.searchsorted(ends, flat, right=True)
    lower = starts[higher] + flat - (ends - counts)[higher]
    return cells[higher], cells[lower]


def take(count: int, *, limit: int) -> Tensor:
    """Numbers of the comparisons to make: all of `count`, or `limit` drawn with replacement by torch's CPU generator."""
    return torch.arange(count) if count <= limit else torch.randint(count, (limit,))
