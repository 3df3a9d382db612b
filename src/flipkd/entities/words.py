"""Pairs of texts that share rare words, by products of sparse matrices, block by block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from flipkd.data.folding import spelling_key
from flipkd.entities.groups import Rows, joined

WORD = re.compile(r"\w+")
BLOCK_ROWS = 2048


def words_of(text: str) -> set[str]:
    """Return the words of a text, runs of letters and digits, in their normal spelling."""
    return set(WORD.findall(spelling_key(text)))


def word_pairs(left: Sequence[str], right: Sequence[str] | None = None, *, least: int, most: int) -> tuple[Rows, Rows]:
    """Return pairs (left rows, right rows) of texts that share at least `least` rare words.

    A word is rare when at most `most` texts of each side have it. Without `right`: pairs of two texts of `left`, each once.
    """
    counts, others = _rare_words(left, right, most)
    found = []
    for start in range(0, counts.shape[0], BLOCK_ROWS):
        shared = (counts[start : start + BLOCK_ROWS] @ others.T).tocoo()
        enough = shared.data >= least
        rows, columns = shared.row[enough].astype(np.int64) + start, shared.col[enough].astype(np.int64)
        once = rows < columns if right is None else slice(None)
        found.append((rows[once], columns[once]))
    return joined(found)


def _rare_words(left: Sequence[str], right: Sequence[str] | None, most: int) -> tuple[Any, Any]:
    """Return sparse matrices [texts, rare words] of both sides, 1 where the text has the word."""
    from scipy.sparse import csr_matrix

    numbers: dict[str, int] = {}

    def matrix(texts: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the numbers of the words of all texts, and where those of each text end."""
        columns, ends = [], [0]
        for text in texts:
            columns += [numbers.setdefault(word, len(numbers)) for word in words_of(text)]
            ends.append(len(columns))
        return columns, ends

    parts = [matrix(texts) for texts in ([left] if right is None else [left, right])]
    sides = [
        csr_matrix((np.ones(len(columns), np.int32), columns, ends), shape=(len(ends) - 1, len(numbers)))
        for columns, ends in parts
    ]
    rare = np.all([np.bincount(side.indices, minlength=len(numbers)) <= most for side in sides], axis=0)
    sides = [side[:, np.flatnonzero(rare)] for side in sides]
    return sides[0], sides[-1]
