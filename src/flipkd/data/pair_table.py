"""PairTable: the texts and labels of N pairs with the teacher's stored values (TeacherSignal), in numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TeacherSignal:
    """The teacher's stored values of N pairs: embeddings of both sides [N, d], scores [N], or both.

    A grid needs embeddings. Where both are given, the score of a pair is the stored one, not the product of its embeddings.
    """

    left: NDArray[np.float32] | None = None
    right: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None
    out_of_fold: NDArray[np.bool_] | None = None
    """[N] true where the score is that of a teacher which was not fine-tuned on the pair."""

    def pair_scores(self) -> NDArray[np.float32]:
        """Return the teacher's score of each pair [N]. Raises ValueError when neither scores nor embeddings are given."""
        if self.score is not None:
            return self.score
        if self.left is None or self.right is None:
            raise ValueError("a TeacherSignal needs embeddings of both sides (left and right), pair scores, or both")
        products: NDArray[np.float32] = np.einsum("nd,nd->n", self.left, self.right)
        return products

    def with_out_of_fold(self, scores: NDArray[np.float32]) -> TeacherSignal:
        """Return a copy in which the values of `scores` [N] that are not NaN replace the scores of their pairs."""
        known = ~np.isnan(scores)
        return replace(self, score=np.where(known, scores, self.pair_scores()), out_of_fold=known)

    def rows(self, rows: NDArray[np.int64]) -> TeacherSignal:
        """Return the values of the pairs with these row numbers."""
        return TeacherSignal(**{field.name: _select_rows(getattr(self, field.name), rows) for field in fields(self)})

    def joined(self, other: TeacherSignal) -> TeacherSignal:
        """Return the values of these pairs followed by those of `other`, which are of the same teacher."""
        if (self.left is None) != (other.left is None):
            raise ValueError("one of the two TeacherSignals has embeddings, the other has none")
        columns: dict[str, Any] = {name: (getattr(self, name), getattr(other, name)) for name in ("left", "right")}
        if self.score is not None or other.score is not None:
            columns["score"] = (self.pair_scores(), other.pair_scores())
        if self.out_of_fold is not None or other.out_of_fold is not None:
            columns["out_of_fold"] = (self._out_of_fold_mask(), other._out_of_fold_mask())
        return TeacherSignal(**{name: np.concatenate(both) for name, both in columns.items() if both[0] is not None})

    def _out_of_fold_mask(self) -> NDArray[np.bool_]:
        return np.zeros(len(self.pair_scores()), bool) if self.out_of_fold is None else self.out_of_fold


def _select_rows(values: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if values is None else values[rows]


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """N pairs ready for training; `label` is 1 (match), 0 (no match) or -1 (unknown)."""

    left: Sequence[str]
    right: Sequence[str]
    label: NDArray[np.int64]
    teacher: TeacherSignal | None = None
    weight: NDArray[np.float32] | None = None
    """[N] how much each pair changes the student; None: all equally."""

    def __len__(self) -> int:
        return len(self.left)

    def rows(self, rows: NDArray[np.int64]) -> PairTable:
        """Return the pairs with these row numbers."""
        return PairTable(
            left=[self.left[row] for row in rows.tolist()],
            right=[self.right[row] for row in rows.tolist()],
            label=self.label[rows],
            teacher=None if self.teacher is None else self.teacher.rows(rows),
            weight=_select_rows(self.weight, rows),
        )

    def labelled(self) -> PairTable:
        """Return the pairs with a label."""
        return self.rows(np.flatnonzero(self.label >= 0))

    def with_unlabelled(self, left: Sequence[str], right: Sequence[str], signal: TeacherSignal) -> PairTable:
        """Return this table followed by unlabelled pairs and the teacher's values for them."""
        if self.teacher is None:
            raise ValueError("unlabelled pairs need a teacher, and this table has no teacher values")
        return PairTable(
            left=[*self.left, *left],
            right=[*self.right, *right],
            label=np.concatenate([self.label, np.full(len(left), -1, np.int64)]),
            teacher=self.teacher.joined(signal),
            weight=None if self.weight is None else np.concatenate([self.weight, np.ones(len(left), np.float32)]),
        )
