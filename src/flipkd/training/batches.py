"""Rows of pairs into the tensors of one step: prompt, labels and the teacher's stored values; and the order of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flipkd.batching import batches_near
from flipkd.student.model import Student
from flipkd.training.augment import augmented

SWAPS, DRAWS = 1, 2  # beside seed and epoch: streams of random numbers of their own
MOST_DRAWS = 2**31


@dataclass(frozen=True, kw_only=True)
class TeacherSignal:
    """What the store gave for N pairs: vectors of both sides [N, d], from which a grid can be made, or scores [N], or both.

    Where there are both, the score of a pair is the one given, not the product of its vectors.
    """

    left: NDArray[np.float32] | None = None
    right: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None
    out_of_fold: NDArray[np.bool_] | None = None
    """[N] whose score is that of a teacher which was not fine-tuned on the pair."""

    def pair_scores(self) -> NDArray[np.float32]:
        """The teacher's score of each pair [N]."""
        if self.score is not None:
            return self.score
        if self.left is None or self.right is None:
            raise ValueError("a teacher's signal has vectors of both sides, pair scores, or both")
        products: NDArray[np.float32] = np.einsum("nd,nd->n", self.left, self.right)
        return products

    def with_out_of_fold(self, scores: NDArray[np.float32]) -> TeacherSignal:
        """The same vectors, and those of `scores` [N] that are not NaN as the pairs' scores."""
        known = ~np.isnan(scores)
        return replace(self, score=np.where(known, scores, self.pair_scores()), out_of_fold=known)

    def rows(self, rows: NDArray[np.int64]) -> TeacherSignal:
        """What the store gave for some of the pairs."""
        return TeacherSignal(**{field.name: _taken(getattr(self, field.name), rows) for field in fields(self)})

    def joined(self, other: TeacherSignal) -> TeacherSignal:
        """The values of these pairs and behind them those of others, of the same teacher."""
        if (self.left is None) != (other.left is None):
            raise ValueError("one of the two signals has vectors, the other has none")
        columns: dict[str, Any] = {name: (getattr(self, name), getattr(other, name)) for name in ("left", "right")}
        if self.score is not None or other.score is not None:
            columns["score"] = (self.pair_scores(), other.pair_scores())
        if self.out_of_fold is not None or other.out_of_fold is not None:
            columns["out_of_fold"] = (self._unseen(), other._unseen())
        return TeacherSignal(**{name: np.concatenate(both) for name, both in columns.items() if both[0] is not None})

    def _unseen(self) -> NDArray[np.bool_]:
        return np.zeros(len(self.pair_scores()), bool) if self.out_of_fold is None else self.out_of_fold


def _taken(values: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if values is None else values[rows]


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """N pairs ready for training; `label` is 1, 0 or -1 (unknown)."""

    left: Sequence[str]
    right: Sequence[str]
    label: NDArray[np.int64]
    teacher: TeacherSignal | None = None

    def __len__(self) -> int:
        return len(self.left)

    def with_unlabelled(self, left: Sequence[str], right: Sequence[str], signal: TeacherSignal) -> PairTable:
        """This table and behind it pairs without labels, with what the teacher gave for them."""
        if self.teacher is None:
            raise ValueError("pairs without labels teach nothing without a teacher")
        return PairTable(
            left=[*self.left, *left],
            right=[*self.right, *right],
            label=np.concatenate([self.label, np.full(len(left), -1, np.int64)]),
            teacher=self.teacher.joined(signal),
        )


class RowNumbers(Dataset[int]):
    """N rows, each of which is a number: row + N * swapped + 2 N * draw; `draw` is the seed of an alteration, 0 for none."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> int:
        return number


class Collator:
    """Row numbers -> the batch that DistillationModule.forward takes; texts that are equal get equal ids.

    Numbers are those of RowNumbers. With its texts all that is known of either side is swapped; a text that is altered
    stays the text that it was to the labels, the teacher's values and the ids.
    """

    def __init__(
        self, student: Student, table: PairTable, *, return_embeddings: bool, drop_head: bool = False
    ) -> None:
        self.student, self.table, self.return_embeddings, self.drop_head = (
            student,
            table,
            return_embeddings,
            drop_head,
        )
        self.teacher_pair = None if return_embeddings or table.teacher is None else table.teacher.pair_scores()
        numbers: dict[str, int] = {}
        self.left_id = np.array([numbers.setdefault(text, len(numbers)) for text in table.left])
        self.right_id = np.array([numbers.setdefault(text, len(numbers)) for text in table.right])

    def __call__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        table = self.table
        draws, within = np.divmod(np.array(numbers), 2 * len(table))
        rows, swapped = within % len(table), within >= len(table)
        template = self.student.prompt.template
        pairs = [
            augmented(table.left[row], table.right[row], draw, template)
            for row, draw in zip(rows.tolist(), draws.tolist(), strict=True)
        ]
        pairs = [pair[::-1] if turned else pair for pair, turned in zip(pairs, swapped.tolist(), strict=True)]
        batch = self.student.collate(
            [left for left, _ in pairs],
            [right for _, right in pairs],
            return_embeddings=self.return_embeddings,
            drop_head=self.drop_head,
        )
        columns: dict[str, NDArray[Any]] = {"label": table.label[rows], "row": rows}
        teacher = table.teacher
        if self.return_embeddings:
            columns |= _sides("left_id", "right_id", self.left_id[rows], self.right_id[rows], swapped)
            if teacher is not None and teacher.left is not None and teacher.right is not None:
                columns |= _sides("teacher_left", "teacher_right", teacher.left[rows], teacher.right[rows], swapped)
            if teacher is not None and teacher.score is not None:
                columns["teacher_pair"] = teacher.score[rows]
        elif self.teacher_pair is not None:  # objectives of the answer read nothing but the pairs' own scores
            columns["teacher_pair"] = self.teacher_pair[rows]
        return batch | {name: torch.from_numpy(column) for name, column in columns.items()}


def _sides(
    left: str, right: str, ours: NDArray[Any], theirs: NDArray[Any], swapped: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Two columns [N] or [N, d] by name, exchanged in the rows that are `swapped` [N]."""
    turned = swapped.reshape(-1, *[1] * (ours.ndim - 1))
    return {left: np.where(turned, theirs, ours), right: np.where(turned, ours, theirs)}


class LengthGroupedRows(Sampler[int]):
    """A seeded order in which neighbours are of like length; a function of (seed, epoch) alone, so a resumed run repeats it.

    transformers' own length-grouped sampler draws from the global generator, whose state at the start of an epoch a
    resumed run does not have. The numbers are those of RowNumbers: with `swap_texts` half of the texts are swapped, in the
    next epoch the others; of `augment_texts` of the rows a text is altered, of others in each epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        swap_texts: bool = False,
        augment_texts: float = 0.0,
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.swap_texts, self.augment_texts = swap_texts, augment_texts

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; accelerate calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths)).tolist()
        batches = batches_near(order, self.lengths, self.batch_size)
        if self.swap_texts:
            # Drawn once for all epochs: each pair is then read as often in one order as in the other.
            first = np.random.default_rng((self.seed, 0, SWAPS)).permutation(len(order)) % 2
            added = ((first + self.epoch) % 2 * len(order)).tolist()
            batches = [[row + added[row] for row in batch] for batch in batches]
        if self.augment_texts:
            drawn = np.random.default_rng((self.seed, self.epoch, DRAWS))
            draws = drawn.integers(1, MOST_DRAWS, len(order)) * (drawn.random(len(order)) < self.augment_texts)
            count = len(order)
            batches = [[row + 2 * count * int(draws[row % count]) for row in batch] for batch in batches]
        short = [batch for batch in batches if len(batch) < self.batch_size]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        for at in random.permutation(len(whole)):
            yield from whole[at]
        for batch in short:
            yield from batch
