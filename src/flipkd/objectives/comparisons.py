"""Comparisons of cells with each other: all, or up to a limit of them, drawn uniformly.

The number of comparisons is known on the device alone; reading it would make the host wait for the GPU. So shapes depend
on sizes alone. Where all L x L comparisons of L cells are within the limit, a mask [L, L] marks those that are made: no
index is needed, whose backward pass adds up hundreds of gradients of a cell one after another on a GPU (a third of its time at
16 pairs). Else index vectors have K slots: the largest possible number of comparisons, or the limit. Up to the limit
the slots hold all comparisons, and a mask marks the empty ones; beyond it each slot holds one that is drawn with replacement.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Comparisons(NamedTuple):
    """Comparisons of a higher with a lower cell, as a mask of all pairs of cells or as index vectors."""

    valid: Tensor
    """[L, L] bool: the cell of the row is compared with that of the column. Or [K] bool: the slots in use."""
    higher: Tensor | None = None
    """[K] int64, or None for a mask [L, L]. An empty slot has an arbitrary cell."""
    lower: Tensor | None = None
    """[K] int64, or None."""

    def sides(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values [L] of the higher and of the lower cells, in shapes that broadcast to that of `valid`."""
        if self.higher is None or self.lower is None:
            return values[:, None], values[None, :]
        return values[self.higher], values[self.lower]


def cross_comparisons(positive: Tensor, negative: Tensor, *, limit: int) -> Comparisons:
    """Return the comparisons of each positive with each negative cell; both masks [L] bool, and no cell is in both."""
    size = len(positive)
    if size * size <= limit:
        return Comparisons(positive[:, None] & negative[None, :])
    positives, negatives = positive.sum(), negative.sum()
    flat, valid = comparison_slots(positives * negatives, most=size * size // 4, limit=limit)
    row = flat // negatives.clamp(min=1)
    return Comparisons(valid, _members_first(positive)[row], _members_first(negative)[flat - row * negatives])


def ordered_comparisons(group: Tensor, teacher: Tensor, *, gap: float, most: int, limit: int) -> Comparisons:
    """Return the comparisons (u, v) of two cells of one group with T_v < T_u - gap.

    group: [L] int64, below 0 for a cell of no group; teacher: [L] T; most: an upper bound of their number. Beyond the limit
    they are numbered without being listed: sorted by group and T, the cells that u is compared with are the
    first `counts[u]` of its group. The sort key uses ranks of T, because a group and a float give no exact key.
    """
    size, threshold = len(teacher), teacher - gap
    if size * size <= limit:
        in_group = (group[:, None] == group) & (group >= 0)
        return Comparisons(in_group & (teacher < threshold[:, None]))
    by_score, order = teacher.sort()
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(size, device=order.device))
    key, cells = (group * size + rank).sort()
    starts = torch.searchsorted(key, group * size)
    ends = torch.searchsorted(key, group * size + torch.searchsorted(by_score, threshold))
    counts = torch.where(group >= 0, ends - starts, 0)
    total = counts.cumsum(0)
    flat, valid = comparison_slots(total[-1], most=most, limit=limit)
    higher = torch.searchsorted(total, flat, right=True).clamp(max=size - 1)
    return Comparisons(valid, higher, cells[flat + (starts + counts - total)[higher]])


def comparison_slots(count: Tensor, *, most: int, limit: int) -> tuple[Tensor, Tensor]:
    """Return the numbers [K] of the comparisons to make, and a mask [K] of the slots in use; K = min(most, limit).

    count: [] int64, at most `most`. Up to `limit` the numbers are 0 to count - 1, else they are drawn with replacement.
    An empty slot has the number 0.
    """
    number = torch.arange(min(most, limit), device=count.device)
    valid = number < count
    if most > limit:
        number = torch.where(count > limit, draw_with_replacement(count, size=limit, device=count.device), number)
    return torch.where(valid, number, 0), valid


def draw_with_replacement(count: Tensor | int, *, size: int, device: torch.device) -> Tensor:
    """Draw numbers [size] int64 below `count`, uniformly and with replacement, from the default generator of the device."""
    share = torch.rand(size, dtype=torch.float64, device=device)  # exact for counts below 2^53
    return (share * count).long().clamp(max=count - 1)


def _members_first(mask: Tensor) -> Tensor:
    """Return the indices [L] of the cells in a mask [L], in their order, followed by those of the other cells."""
    return (~mask).to(torch.uint8).argsort(stable=True)
