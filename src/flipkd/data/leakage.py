"""Detection of texts that are in two splits, per side; a right side shared by design, such as an FAQ, is no leak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from flipkd.data.split import text_keys

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Leak:
    """Counts of rows in a later split with a text of an earlier split; texts are equal if their `word_key` is equal."""

    rows: int
    """Rows with a leaked text on either side; rows whose text2 is shared by design do not count."""
    text1_rows: int
    text2_rows: int
    shared_text2: int
    """Distinct right texts of all splits if they form a short shared list, as the entries of an FAQ do; else 0."""


def leaks_by_side(splits: Mapping[str, Dataset]) -> dict[tuple[str, str], Leak]:
    """`Leak` per (earlier, later) pair of splits."""
    keys = {name: text_keys(part) for name, part in splits.items()}
    sides = ([text for part in keys.values() for text in part[side]] for side in (0, 1))
    shared = _shared(*sides)
    return {(first, second): _leak(keys[first], keys[second], shared) for first, second in combinations(splits, 2)}


def _leak(earlier: tuple[list[str], list[str]], later: tuple[list[str], list[str]], shared: int) -> Leak:
    # If the sides are of two kinds, a question equal to an FAQ entry is not a duplicate question.
    known = [set(earlier[0]), set(earlier[1])] if shared else [{*earlier[0], *earlier[1]}] * 2
    found = [[text in texts for text in side] for side, texts in zip(later, known, strict=True)]
    leaked = found[0] if shared else [a or b for a, b in zip(*found, strict=True)]
    return Leak(sum(leaked), sum(found[0]), sum(found[1]), shared)


def _shared(left: list[str], right: list[str]) -> int:
    """Number of distinct right texts if they are a list shared by the left texts, else 0."""
    distinct = len(set(right))
    return distinct if 2 * distinct <= len(right) and distinct <= len(set(left)) else 0
