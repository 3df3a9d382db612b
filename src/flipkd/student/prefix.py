"""The tokens that all rows of a batch begin with, read once: template, and in ranking also the query.

A causal model's keys and values of a prefix do not depend on what follows, so they are computed for one row and repeated.
In training they carry gradients: those of all rows meet in the one row that was read.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flipkd.student.rows import LEFT_TEXT, RIGHT_TEXT, Row

KEPT = 4  # prefixes whose keys and values are kept; a query's is used while its documents last


@dataclass(frozen=True)
class Prefix:
    """P tokens that were read: segment [P], keys and values of one row, and the left text's vector if it is among them."""

    segment: Tensor
    cache: Any
    left: Tensor | None = None

    def repeated(self, rows: int) -> Any:
        """Keys and values for a batch of that many rows; the model appends to a copy of them."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in cache.layers:
            layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (layer.keys, layer.values))
        return cache

    def replaced(self, keys_values: Tensor) -> Any:
        """A cache of the same kind that holds [2, layers, N, heads, S, d] instead, as it is and not as a copy."""
        cache = self.repeated(keys_values.shape[2])
        for layer, (keys, values) in zip(cache.layers, keys_values.transpose(0, 1), strict=True):
            layer.keys, layer.values = keys, values
            if hasattr(layer, "cumulative_length"):  # of a sliding window, which is known to be longer
                layer.cumulative_length = keys.shape[2]
        return cache


def prefix_kwargs(prefix: Prefix | None, rows: int) -> dict[str, Any]:
    """What `Student.hidden` needs to read that many rows behind a prefix; nothing where there is none."""
    return {} if prefix is None else {"cache": prefix.repeated(rows), "before": prefix.segment}


class Prefixes:
    """The last few prefixes by their token ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def get(self, ids: tuple[int, ...]) -> Prefix | None:
        """A prefix that was read before."""
        return self._kept.get(ids)

    def put(self, ids: tuple[int, ...], prefix: Prefix) -> Prefix:
        """Keep a prefix, and forget the oldest when there are too many."""
        self._kept[ids] = prefix
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return prefix


def shared_prefix(rows: Sequence[Row]) -> Row:
    """What all rows begin with in ids, segments and positions, up to the left text or, if they share it, the right one."""
    first = rows[0]
    length = min(_common([getattr(row, part) for row in rows]) for part in ("ids", "segment", "position"))
    kinds = first.segment[:length]
    for kind in (
        RIGHT_TEXT,
        LEFT_TEXT,
    ):  # a text is in the prefix whole or not at all: its vector is pooled in one pass
        if kind in kinds and (kind == RIGHT_TEXT or kinds[-1] == LEFT_TEXT):
            kinds = kinds[: kinds.index(kind)]
    length = len(kinds)
    return Row(first.ids[:length], kinds, first.position[:length])


def _common(lists: Sequence[list[int]]) -> int:
    """How many items all lists begin with alike: as many as the first and the last in order."""
    low, high = min(lists), max(lists)
    return next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def drop_prefix(row: Row, length: int) -> Row:
    """What is left of a row behind its prefix."""
    return Row(row.ids[length:], row.segment[length:], row.position[length:])
