"""Rows of pairs into the tensors of one step: prompt, labels and the teacher's stored values; and the order of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flipkd.batching import batches_near
from flipkd.data.pair_table import PairTable
from flipkd.student.model import Student
from flipkd.training.augment import augmented

SWAPS, DRAWS = 1, 2  # beside seed and epoch: streams of random numbers of their own
MOST_DRAWS = 2**31


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
        self, student: Student, table: PairTable, *, return_embeddings: bool, after_head: bool = False
    ) -> None:
        self.student, self.table, self.return_embeddings, self.after_head = (
            student,
            table,
            return_embeddings,
            after_head,
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
            after_head=self.after_head,
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
