"""Which cells are compared with which, as index vectors: all comparisons, or as many as memory allows, drawn evenly.

How many there are is known on the device alone, and asking would stop the host until a GPU has caught up. So the vectors
have K slots, whatever the values: as many as the sizes allow at most, or the limit. Up to the limit they hold all
comparisons, and a mask says which slots are empty; beyond it each slot holds one that is drawn with replacement.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Comparisons(NamedTuple):
    """Cell `higher` is compared with cell `lower` in the slots that are `valid`; the empty ones name some cell too."""

    higher: Tensor
    """[K] int64."""
    lower: Tensor
    """[K] int64."""
    valid: Tensor
    """[K] bool."""


def cross_comparisons(positive: Tensor, negative: Tensor, *, limit: int) -> Comparisons:
    """Comparisons of each positive with each negative cell; both [L] bool, and no cell is in both."""
    size = len(positive)
    positives, negatives = positive.sum(), negative.sum()
    flat, valid = slots(positives * negatives, most=size * size // 4, limit=limit)
    row = flat // negatives.clamp(min=1)
    return Comparisons(_members(positive)[row], _members(negative)[flat - row * negatives], valid)


def ordered(group: Tensor, teacher: Tensor, *, gap: float, most: int, limit: int) -> Comparisons:
    """Comparisons (u, v) of two cells of one group with T_v < T_u - gap.

    group: [L] int64, below 0 for a cell in none; teacher: [L]; most: no more comparisons are possible. There can be very
    many, so they are numbered without being listed: in the order of group and T, the cells that u is compared with are
    the first `counts[u]` of its group. Ranks stand for T there, since a group and a float make no exact key.
    """
    size = len(teacher)
    by_score, order = teacher.sort()
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(size, device=order.device))
    key, cells = (group * size + rank).sort()
    starts = torch.searchsorted(key, group * size)
    ends = torch.searchsorted(key, group * size + torch.searchsorted(by_score, teacher - gap))
    counts = torch.where(group >= 0, ends - starts, 0)
    total = counts.cumsum(0)
    flat, valid = slots(total[-1], most=most, limit=limit)
    higher = torch.searchsorted(total, flat, right=True).clamp(max=size - 1)
    return Comparisons(higher, cells[flat + (starts + counts - total)[higher]], valid)


def slots(count: Tensor, *, most: int, limit: int) -> tuple[Tensor, Tensor]:
    """Numbers [K] of the comparisons to make, and which slots [K] bool hold one; K = min(most, limit).

    count: [] int64, at most `most`. Up to `limit` the numbers are 0 to count - 1, else they are drawn with replacement.
    An empty slot has the number 0.
    """
    number = torch.arange(min(most, limit), device=count.device)
    valid = number < count
    if most > limit:
        number = torch.where(count > limit, drawn(count, size=limit, device=count.device), number)
    return torch.where(valid, number, 0), valid


def drawn(count: Tensor | int, *, size: int, device: torch.device) -> Tensor:
    """Numbers [size] int64 below `count`, drawn evenly with replacement by the device's own generator."""
    share = torch.rand(size, dtype=torch.float64, device=device)  # exact for counts below 2^53
    return (share * count).long().clamp(max=count - 1)


def _members(mask: Tensor) -> Tensor:
    """The places of the cells in a mask [L], in their order, and then those of the others."""
    return (~mask).to(torch.uint8).argsort(stable=True)
