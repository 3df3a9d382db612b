"""Cross-validation folds of labelled pairs: each pair can be scored by a model trained on the other folds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flipkd.data.split import MIN_ROWS_OF_SHARE, assign_parts, components, connected_rows, text_keys
from flipkd.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Folds:
    """Fold of each row, and what no two folds share (`apart_by`): "texts", "text1", "text2" or "pairs"."""

    number: np.ndarray
    """int [N], from 0."""
    apart_by: str
    seen: int
    """Number of rows with a text that is also in another fold; 0 if `apart_by` is "texts"."""


def cut_folds(dataset: Dataset, folds: int, *, seed: int = 0) -> Folds:
    """Split N labelled rows into `folds` folds of similar size and class balance that share no text and no group.

    If one connected component of texts is too large, the folds share no text of one side only: the side that leaves fewer
    rows with a text of another fold. If that fails too, they share no pair, in either order. Raises DataError if a fold, or
    the rows outside it, would have too few rows or only one class.
    """
    left, right = text_keys(dataset)
    label = np.array(dataset["label"][:], np.int64)
    pairs = [("pair", *sorted(both)) for both in zip(left, right, strict=True)]

    def cut(apart_by: str, block: np.ndarray) -> Folds | None:
        number = _number(block, label, folds, seed)
        return None if number is None else Folds(number, apart_by, _seen(left, right, number))

    if found := cut("texts", components(dataset)):
        return found
    sides = [cut(name, connected_rows([side, pairs])) for name, side in (("text1", left), ("text2", right))]
    if usable := [side for side in sides if side is not None]:
        return min(usable, key=lambda side: side.seen)
    if found := cut("pairs", connected_rows([pairs])):
        return found
    raise DataError(
        f"{len(label)} labelled rows are too few for {folds} folds: each fold needs rows, and the rows outside it both "
        "labels; use more rows, fewer folds, or folds=0"
    )


def _number(block: np.ndarray, label: np.ndarray, folds: int, seed: int) -> np.ndarray | None:
    """Fold of each row, int [N]; None if a fold has too few rows or only one class remains outside it."""
    counts = np.bincount(block * 3 + label, minlength=(block.max() + 1) * 3).reshape(-1, 3)
    number: np.ndarray = assign_parts(counts, np.full(folds, 1 / folds), seed)[block]
    sizes = np.bincount(number, minlength=folds)
    classes = [set(label[number != fold].tolist()) for fold in range(folds)]
    enough = sizes.min() >= max(MIN_ROWS_OF_SHARE * len(label) / folds, 1) and all(
        found == {0, 1} for found in classes
    )
    return number if enough else None


def _seen(left: Sequence[Hashable], right: Sequence[Hashable], number: np.ndarray) -> int:
    folds_of: dict[Hashable, set[int]] = {}
    for a, b, fold in zip(left, right, number.tolist(), strict=True):
        folds_of.setdefault(a, set()).add(fold)
        folds_of.setdefault(b, set()).add(fold)
    return sum(len(folds_of[a]) > 1 or len(folds_of[b]) > 1 for a, b in zip(left, right, strict=True))
