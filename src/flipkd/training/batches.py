"""Rows of pairs into the tensors of one step: prompt, labels and the teacher's stored values; and the order of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from flipkd.batching import batches_near
from flipkd.student.model import Student


@dataclass(frozen=True, kw_only=True)
class TeacherSignal:
    """What the store gave for N pairs: vectors of both sides [N, d] (a grid can be made), or one score per pair [N]."""

    left: NDArray[np.float32] | None = None
    right: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None

    def pair_scores(self) -> NDArray[np.float32]:
        """The teacher's score of each pair [N]."""
        if self.score is not None:
            return self.score
        if self.left is None or self.right is None:
            raise ValueError("a teacher's signal has either vectors of both sides or pair scores")
        products: NDArray[np.float32] = np.einsum("nd,nd->n", self.left, self.right)
        return products


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """N pairs ready for training; `label` is 1, 0 or -1 (unknown)."""

    left: Sequence[str]
    right: Sequence[str]
    label: NDArray[np.int64]
    teacher: TeacherSignal | None = None

    def __len__(self) -> int:
        return len(self.left)

    def with_pairs(self, left_rows: NDArray[np.int64], right_rows: NDArray[np.int64]) -> PairTable:
        """This table and behind it unlabelled pairs of its texts, given by rows; the teacher must have given vectors."""
        signal = self.teacher
        if signal is None or signal.left is None or signal.right is None:
            raise ValueError("pairs of other rows need the teacher's vectors")
        return PairTable(
            left=[*self.left, *(self.left[row] for row in left_rows.tolist())],
            right=[*self.right, *(self.right[row] for row in right_rows.tolist())],
            label=np.concatenate([self.label, np.full(len(left_rows), -1, np.int64)]),
            teacher=TeacherSignal(
                left=np.concatenate([signal.left, signal.left[left_rows]]),
                right=np.concatenate([signal.right, signal.right[right_rows]]),
            ),
        )


class Collator:
    """Row numbers -> the batch that DistillationModule.forward takes; texts that are equal get equal ids."""

    def __init__(self, student: Student, table: PairTable, *, represent: bool, behind_head: bool = False) -> None:
        self.student, self.table, self.represent, self.behind_head = student, table, represent, behind_head
        self.teacher_pair = None if represent or table.teacher is None else table.teacher.pair_scores()
        numbers: dict[str, int] = {}
        self.left_id = np.array([numbers.setdefault(text, len(numbers)) for text in table.left])
        self.right_id = np.array([numbers.setdefault(text, len(numbers)) for text in table.right])

    def __call__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        table = self.table
        batch = self.student.collate(
            [table.left[row] for row in rows],
            [table.right[row] for row in rows],
            represent=self.represent,
            behind_head=self.behind_head,
        )
        batch |= {"label": torch.from_numpy(table.label[rows]), "row": torch.tensor(rows)}
        columns: dict[str, NDArray[Any] | None] = {}
        if self.represent:
            columns |= {"left_id": self.left_id, "right_id": self.right_id}
            if table.teacher is not None:
                teacher = table.teacher
                columns |= {
                    "teacher_left": teacher.left,
                    "teacher_right": teacher.right,
                    "teacher_pair": teacher.score,
                }
        else:  # objectives of the answer read nothing but the pairs' own scores
            columns["teacher_pair"] = self.teacher_pair
        return batch | {name: torch.from_numpy(column[rows]) for name, column in columns.items() if column is not None}


class LengthGroupedRows(Sampler[int]):
    """A seeded order in which neighbours are of like length; a function of (seed, epoch) alone, so a resumed run repeats it.

    transformers' own length-grouped sampler draws from the global generator, whose state at the start of an epoch a
    resumed run does not have.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; accelerate calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths)).tolist()
        batches = batches_near(order, self.lengths, self.batch_size)
        short = [batch for batch in batches if len(batch) < self.batch_size]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        for at in random.permutation(len(whole)):
            yield from whole[at]
        for batch in short:
            yield from batch
