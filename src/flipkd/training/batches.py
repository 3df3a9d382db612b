"""Collator and sampler: from rows of a PairTable to the tensors of one step, and the order of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flipkd.batching import batches_near, batches_of_lists
from flipkd.data.pair_table import PairTable
from flipkd.student.model import Student
from flipkd.training.augment import augment_pair

SWAP_STREAM, AUGMENT_STREAM, HALF_STREAM = 1, 2, 3  # added to seed and epoch: separate streams of random numbers
MAX_DRAW = 2**31


class RowNumbers(Dataset[int]):
    """A dataset of numbers: row + N * swapped + 2 N * draw, where `draw` is the seed of an augmentation, 0 for none."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> int:
        return number


class Collator:
    """Build the batch of DistillationModule.forward from numbers of RowNumbers; equal texts have equal ids.

    A swapped row also swaps the ids and the teacher's embeddings of its sides. An augmented text keeps the label, the
    teacher's values and the id of the original. `return_lists` adds the number of each pair's list, those of the pairs
    with the same first text in the table.
    """

    def __init__(
        self,
        student: Student,
        table: PairTable,
        *,
        return_embeddings: bool,
        return_lists: bool = False,
        drop_head: bool = False,
        both_orders: bool = False,
    ) -> None:
        self.student, self.table = student, table
        self.return_embeddings, self.return_lists = return_embeddings, return_lists
        self.drop_head, self.both_orders = drop_head, both_orders
        self.teacher_pair = None if return_embeddings or table.teacher is None else table.teacher.pair_scores()
        numbers: dict[str, int] = {}
        self.left_id = np.array([numbers.setdefault(text, len(numbers)) for text in table.left])
        self.right_id = np.array([numbers.setdefault(text, len(numbers)) for text in table.right])
        self.list_of = self.left_id

    def __call__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        table = self.table
        draws, remainder = np.divmod(np.array(numbers), 2 * len(table))
        rows, swapped = remainder % len(table), remainder >= len(table)
        template = self.student.prompt.template
        pairs = [
            augment_pair(table.left[row], table.right[row], draw, template)
            for row, draw in zip(rows.tolist(), draws.tolist(), strict=True)
        ]
        pairs = [pair[::-1] if is_swapped else pair for pair, is_swapped in zip(pairs, swapped.tolist(), strict=True)]
        batch = self.student.collate(
            [left for left, _ in pairs],
            [right for _, right in pairs],
            return_embeddings=self.return_embeddings,
            drop_head=self.drop_head,
        )
        columns: dict[str, NDArray[Any]] = {"label": table.label[rows], "row": rows}
        columns |= {"pair_id": rows} if self.both_orders else {}
        if table.weight is not None:
            columns["weight"] = table.weight[rows]
        if self.return_lists:
            columns["list_id"] = self.list_of[rows]
        teacher = table.teacher
        if self.return_embeddings:
            columns |= _swap_sides("left_id", "right_id", self.left_id[rows], self.right_id[rows], swapped)
            if teacher is not None and teacher.left is not None and teacher.right is not None:
                columns |= _swap_sides(
                    "teacher_left", "teacher_right", teacher.left[rows], teacher.right[rows], swapped
                )
            if teacher is not None and teacher.score is not None:
                columns["teacher_pair"] = teacher.score[rows]
        elif self.teacher_pair is not None:  # objectives of the answer read only the pair scores
            columns["teacher_pair"] = self.teacher_pair[rows]
        return batch | {name: torch.from_numpy(column) for name, column in columns.items()}


def _swap_sides(
    left: str, right: str, ours: NDArray[Any], theirs: NDArray[Any], swapped: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Return two columns [N] or [N, d] by name, exchanged in the rows where `swapped` [N] is true."""
    is_swapped = swapped.reshape(-1, *[1] * (ours.ndim - 1))
    return {left: np.where(is_swapped, theirs, ours), right: np.where(is_swapped, ours, theirs)}


class LengthGroupedRows(Sampler[int]):
    """Iterate over the rows in a seeded order, grouped by length; the order depends on (seed, epoch) alone.

    So a resumed run repeats it. transformers' length-grouped sampler draws from the global generator, whose state at the
    start of an epoch a resumed run does not have. The numbers are those of RowNumbers: with `swap_texts` half of the pairs
    are swapped, in the next epoch the other half; a share `augment_texts` of the rows is augmented, other rows each epoch. With
    `both_orders` an epoch has half of the pairs, each in both orders in the same batch, and the next epoch the other half: two
    epochs have each pair once in each order. With `list_of` [N], the list of each row, lists are
    kept together instead of lengths (`batches_of_lists`).
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        swap_texts: bool = False,
        augment_texts: float = 0.0,
        both_orders: bool = False,
        list_of: Sequence[int] | None = None,
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.swap_texts, self.augment_texts, self.both_orders = swap_texts, augment_texts, both_orders
        self.list_of = list_of

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; accelerate calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        count = len(self.lengths)
        return count + count % 2 if self.both_orders else count

    def __iter__(self) -> Iterator[int]:
        random, count = np.random.default_rng((self.seed, self.epoch)), len(self.lengths)
        if self.both_orders:
            order = random.permutation(self._half()).tolist()
            pairs = batches_near(order, self.lengths, self.batch_size // 2)
            batches = [[number for row in batch for number in (row, row + count)] for batch in pairs]
        elif self.list_of is not None:
            batches = batches_of_lists(random.permutation(count).tolist(), self.list_of, self.batch_size)
        else:
            batches = batches_near(random.permutation(count).tolist(), self.lengths, self.batch_size)
        if self.swap_texts:
            # Drawn once for all epochs, so that each pair is read equally often in both orders.
            first = np.random.default_rng((self.seed, 0, SWAP_STREAM)).permutation(count) % 2
            offset = ((first + self.epoch) % 2 * count).tolist()
            batches = [[row + offset[row] for row in batch] for batch in batches]
        if self.augment_texts:
            drawn = np.random.default_rng((self.seed, self.epoch, AUGMENT_STREAM))
            draws = drawn.integers(1, MAX_DRAW, count) * (drawn.random(count) < self.augment_texts)
            batches = [[row + 2 * count * int(draws[row % count]) for row in batch] for batch in batches]
        short = [batch for batch in batches if len(batch) < self.batch_size]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        for at in random.permutation(len(full)):
            yield from full[at]
        for batch in short:
            yield from batch

    def _half(self) -> NDArray[np.int64]:
        """Return half of the rows, rounded up: the first half of a seeded order in even epochs, the last in odd ones."""
        count = len(self.lengths)
        order = np.random.default_rng((self.seed, 0, HALF_STREAM)).permutation(count)
        return order[count // 2 :] if self.epoch % 2 else order[: count - count // 2]
