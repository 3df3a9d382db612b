"""Texts that stand in two sets of pairs, side by side; a right side that rows share by design is no leak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from flipkd.data.folding import word_key

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Leak:
    """Rows of a later set that hold a text of an earlier one; texts are the same when their words agree."""

    rows: int
    """By either side; without those whose text2 is shared by design."""
    text1_rows: int
    text2_rows: int
    shared_text2: int
    """Distinct right texts of all sets where they are few, as the entries of an FAQ are; 0 where they are no such list."""


def leaks(splits: Mapping[str, Dataset]) -> dict[str, int]:
    """Per pair of splits, as "train/test": rows of the second that hold a text of the first (`Leak.rows`)."""
    return {"/".join(names): leak.rows for names, leak in leaks_by_side(splits).items()}


def leaks_by_side(splits: Mapping[str, Dataset]) -> dict[tuple[str, str], Leak]:
    """Per (earlier, later) split what the later one shares with the earlier."""
    words = {
        name: ([word_key(text) for text in part["text1"][:]], [word_key(text) for text in part["text2"][:]])
        for name, part in splits.items()
    }
    sides = ([text for part in words.values() for text in part[side]] for side in (0, 1))
    shared = _shared(*sides)
    return {(first, second): _leak(words[first], words[second], shared) for first, second in combinations(splits, 2)}


def _leak(earlier: tuple[list[str], list[str]], later: tuple[list[str], list[str]], shared: int) -> Leak:
    # Where the sides are of two kinds, a question that reads like an entry is no repeated question.
    known = [set(earlier[0]), set(earlier[1])] if shared else [{*earlier[0], *earlier[1]}] * 2
    found = [[text in texts for text in side] for side, texts in zip(later, known, strict=True)]
    leaked = found[0] if shared else [a or b for a, b in zip(*found, strict=True)]
    return Leak(sum(leaked), sum(found[0]), sum(found[1]), shared)


def _shared(left: list[str], right: list[str]) -> int:
    """How many texts the right side has where it is a list that the left texts share, else 0."""
    distinct = len(set(right))
    return distinct if 2 * distinct <= len(right) and distinct <= len(set(left)) else 0
