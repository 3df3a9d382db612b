"""The rules that make candidate pairs of records: same text, nearest neighbours, equal values, rare words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import CandidatesConfig
from flipkd.data.folding import word_key
from flipkd.data.records import Records
from flipkd.entities.groups import Groups, Rows, equal_pairs, first_rows, numbered, row_pairs
from flipkd.entities.pair_set import PairSet
from flipkd.entities.words import word_pairs
from flipkd.errors import shorten
from flipkd.text import normal_text

logger = logging.getLogger(__name__)
SHOWN_VALUES = 5
SAME_TEXT, NEIGHBOURS, WORDS = "same_text", "neighbours", "words"

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


class EqualRule(NamedTuple):
    """One rule of --equal: its name in the output, and the columns of both files whose values must be equal."""

    name: str
    left: list[str]
    right: list[str]


def equal_rule(text: str, left: Sequence[str], right: Sequence[str]) -> EqualRule:
    """Parse one value of --equal: COLUMN, COLUMN=COLUMN2, or several joined by +; an existing column of that name comes first."""
    name = f"equal:{text}"
    if text in left and text in right:
        return EqualRule(name, [text], [text])
    parts = [part.partition("=") for part in text.split("+")]
    return EqualRule(name, [first for first, _, _ in parts], [second or first for first, _, second in parts])


class DistinctTexts:
    """The distinct texts of one file or two in their normal form, and the rows of each."""

    def __init__(self, left: Records, right: Records | None) -> None:
        sides = [left.texts] if right is None else [left.texts, right.texts]
        numbers, self.texts = numbered(*([normal_text(text) for text in side] for side in sides))
        self.one_file, self.numbers = right is None, (numbers[0], numbers[-1])
        self.groups = Groups(numbers[0], len(self.texts)), Groups(numbers[-1], len(self.texts))
        # The texts of each file in the order of its rows, by which ties are decided.
        self.values = [side[np.sort(np.unique(side, return_index=True)[1])] for side in numbers]

    def of_side(self, side: int) -> list[str]:
        """Return the distinct texts of file 0 or 1."""
        return [str(self.texts[value]) for value in self.values[side].tolist()]

    def rows(self, left: Rows, right: Rows, *, most: int) -> tuple[Rows, Rows]:
        """Return the pairs of rows for pairs of positions in the distinct texts of each file."""
        return row_pairs(*self.groups, self.values[0][left], self.values[-1][right], most=most)


def find_pairs(
    config: CandidatesConfig,
    left: Records,
    right: Records | None,
    *,
    distinct: DistinctTexts,
    vectors: NDArray[np.float32] | None,
    equal: Sequence[EqualRule],
) -> PairSet:
    """Apply the rules of `config`; vectors: one for each of the distinct texts, None for no nearest neighbours."""
    first = (first_rows(distinct.numbers[0]), first_rows(distinct.numbers[1])) if config.distinct else None
    pairs = PairSet(len(left), None if right is None else len(right), first=first)
    most = 1 if config.distinct else config.max_group
    if not (config.distinct and right is None):
        _same_text(pairs, distinct, most)
    if vectors is not None and config.top_k:
        from flipkd.entities.neighbours import nearest_pairs

        other = None if right is None else vectors[distinct.values[1]]
        found = nearest_pairs(
            vectors[distinct.values[0]], other, top_k=config.top_k, min_similarity=config.min_similarity
        )
        pairs.add(NEIGHBOURS, *distinct.rows(*found, most=most))
    if config.min_word_overlap is not None:
        other_texts = None if right is None else distinct.of_side(1)
        found = word_pairs(distinct.of_side(0), other_texts, least=config.min_word_overlap, most=config.max_group)
        pairs.add(WORDS, *distinct.rows(*found, most=most))
    for rule in equal:
        _equal(pairs, rule, left, left if right is None else right, config.max_group)
    return pairs


def _same_text(pairs: PairSet, distinct: DistinctTexts, most: int) -> None:
    left, right = distinct.groups
    shared = np.flatnonzero((left.sizes > 0) & (right.sizes > (1 if distinct.one_file else 0)))
    pairs.add(SAME_TEXT, *row_pairs(left, right, shared, shared, most=most))
    if most > 1 and (many := int(np.sum((left.sizes > most) | (right.sizes > most)))):
        logger.warning(
            "%d texts have more than %d copies; only the first %d of each are paired (--max_group)", many, most, most
        )


def _equal(pairs: PairSet, rule: EqualRule, left: Records, right: Records, most: int) -> None:
    sides = [_keys(left, rule.left)] if right is left else [_keys(left, rule.left), _keys(right, rule.right)]
    numbers, values = numbered(*sides)
    groups = Groups(numbers[0], len(values)), Groups(numbers[-1], len(values))
    left_rows, right_rows, skipped = equal_pairs(*groups, most=most)
    pairs.add(rule.name, left_rows, right_rows)
    if len(skipped):
        shown = ", ".join(shorten(" + ".join(values[value])) for value in skipped[:SHOWN_VALUES].tolist())
        logger.warning(
            "--equal %s: values that more than %d records have are skipped: %d, such as %s; combine the column with another "
            "(A+B), or raise --max_group",
            rule.name.partition(":")[2],
            most,
            len(skipped),
            shown,
        )


def _keys(records: Records, columns: Sequence[str]) -> list[tuple[str, ...] | None]:
    """Return the normal form of the columns' values in each record; None where one of them is empty."""
    rows = zip(*(records.keys(column) for column in columns), strict=True)
    return [None if None in row else tuple(word_key(value) for value in row if value) for row in rows]
