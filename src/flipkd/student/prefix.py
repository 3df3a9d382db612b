"""Prefix cache: encode the common first tokens of a batch once (the template, in ranking also the query).

A causal model's keys and values of a prefix do not depend on later tokens, so they are computed for one row and repeated.
In training they have gradients: those of all rows are summed in the one encoded row.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flipkd.student.rows import LEFT_TEXT, RIGHT_TEXT, Row

CACHE_SIZE = 4  # prefixes in the cache; that of a query is used until all its documents are scored


@dataclass(frozen=True)
class Prefix:
    """An encoded prefix of P tokens: segment [P], keys and values of one row, and the vector of a left text in it."""

    segment: Tensor
    cache: Any
    left: Tensor | None = None

    def repeated(self, rows: int) -> Any:
        """Return keys and values for a batch of `rows` rows; the model appends to a copy of them."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in cache.layers:
            layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (layer.keys, layer.values))
        return cache

    def replaced(self, keys_values: Tensor) -> Any:
        """Return a cache of the same type that holds `keys_values` [2, layers, N, heads, S, d], without copying them."""
        cache = self.repeated(keys_values.shape[2])
        for layer, (keys, values) in zip(cache.layers, keys_values.transpose(0, 1), strict=True):
            layer.keys, layer.values = keys, values
            if hasattr(layer, "cumulative_length"):  # of a sliding window, which is longer than all rows here
                layer.cumulative_length = keys.shape[2]
        return cache


def prefix_kwargs(prefix: Prefix | None, rows: int) -> dict[str, Any]:
    """Return the arguments of `Student.hidden` for `rows` rows after a prefix; empty without a prefix."""
    return {} if prefix is None else {"cache": prefix.repeated(rows), "prefix_segment": prefix.segment}


class PrefixCache:
    """The last CACHE_SIZE prefixes by their token ids."""

    def __init__(self) -> None:
        self._cached: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def encoded(self, row: Row, encode: Callable[[Row], Prefix]) -> Prefix:
        """Return the prefix of these tokens, from the cache or else by `encode`; the oldest is removed beyond CACHE_SIZE."""
        ids = tuple(row.ids)
        if ids not in self._cached:
            self._cached[ids] = encode(row)
            if len(self._cached) > CACHE_SIZE:
                self._cached.popitem(last=False)
        return self._cached[ids]


def shared_prefix(rows: Sequence[Row]) -> Row:
    """Return the common prefix of all rows in ids, segments and positions, up to a text that they do not share."""
    first = rows[0]
    length = min(_common_length([getattr(row, part) for row in rows]) for part in ("ids", "segment", "position"))
    kinds = first.segment[:length]
    # A text is in the prefix completely or not at all, because its vector is pooled in one pass.
    for kind in (RIGHT_TEXT, LEFT_TEXT):
        if kind in kinds and (kind == RIGHT_TEXT or kinds[-1] == LEFT_TEXT):
            kinds = kinds[: kinds.index(kind)]
    length = len(kinds)
    return Row(first.ids[:length], kinds, first.position[:length])


def _common_length(lists: Sequence[list[int]]) -> int:
    """Return the length of the common prefix of all lists: that of the smallest and the largest list."""
    low, high = min(lists), max(lists)
    return next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def drop_prefix(row: Row, length: int) -> Row:
    """Return a row without its first `length` tokens."""
    return Row(row.ids[length:], row.segment[length:], row.position[length:])
