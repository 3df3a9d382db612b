"""The one way from pairs to scores: training, evaluation, matching and service all come through here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipkd.errors import UsageError
from flipkd.student.model import Student
from flipkd.student.prefix import Prefix, Prefixes, shared_prefix, without
from flipkd.student.prompt import pad, to_device
from flipkd.student.text_states import TextStates, text_states

Floats = NDArray[np.float32]
WINDOW = 4096  # pairs that are tokenised and sorted by length at once: bounds memory whatever the input's size


@dataclass(frozen=True)
class Scores:
    """One value per pair: `answer` = logit(yes) - logit(no); `cosine` of the two texts' vectors, when asked for."""

    answer: Floats
    cosine: Floats | None = None

    @property
    def kinds(self) -> dict[str, Floats]:
        """Name -> values of those that are there."""
        return {"answer": self.answer} | ({} if self.cosine is None else {"cosine": self.cosine})


@torch.no_grad()
def score_pairs(
    student: Student,
    left: Sequence[str],
    right: Sequence[str],
    *,
    batch_size: int = 32,
    represent: bool = False,
    states: TextStates | None = None,
    progress: str | None = None,
) -> Scores:
    """Scores [N] in the order of the pairs, whatever the batch size; `progress` is the label of a progress bar.

    `states`: texts that blocked reading has read before, for a student whose weights stay as they are.
    """
    answer = np.empty(len(left), np.float32)
    cosine = np.empty(len(left), np.float32) if represent else None
    kept = Prefixes()  # of this call only: the weights may change before the next
    states = states or text_states(student)
    student.eval()
    with _bar(len(left), progress, unit="pair") as bar:
        for rows in _batches(len(left), batch_size, lambda at: student.prompt.pair_lengths(left[at], right[at])):
            sides = [left[i] for i in rows], [right[i] for i in rows]
            if states is not None:
                reading = states.read(*sides, batch_size=batch_size)
            else:
                batch, prefix = _behind_prefix(student, *sides, represent=represent, kept=kept)
                reading = student(batch, represent=represent, prefix=prefix)
            answer[rows] = (reading.answers[:, 1] - reading.answers[:, 0]).cpu().numpy()
            if cosine is not None and reading.left is not None and reading.right is not None:
                cosine[rows] = (reading.left * reading.right).sum(1).cpu().numpy()
            bar.update(len(rows))
    return Scores(answer, cosine)


def _behind_prefix(
    student: Student, left: Sequence[str], right: Sequence[str], *, represent: bool, kept: Prefixes
) -> tuple[dict[str, Tensor], Prefix | None]:
    """The batch without what its rows begin with, and that prefix read once, on the student's device."""
    rows = student.prompt.pair_rows(left, right)
    shared = shared_prefix(rows)
    prefix = None
    if len(shared) and max(len(row) for row in rows) <= student.window():
        ids = tuple(shared.ids)
        prefix = kept.get(ids) or kept.put(ids, student.read_prefix(shared))
        rows = [without(row, len(shared)) for row in rows]
    batch = pad(rows, padding_id=student.prompt.padding_id)
    if represent and student.prompt.reading == "separate":
        batch |= student.collate_alone(left, right)
    return to_device(batch, student.device), prefix


@torch.no_grad()
def encode_texts(
    student: Student, texts: Sequence[str], *, batch_size: int = 32, progress: str | None = None
) -> Floats:
    """Unit vectors [n, D] of texts read alone, in the order given."""
    if not texts:
        return encode_texts(student, ["a"])[:0]  # no rows, but as wide as ever
    student.eval()
    order: list[int] = []
    parts: list[Floats] = []
    with _bar(len(texts), progress, unit="text") as bar:
        for rows in _batches(
            len(texts), batch_size, lambda at: [len(i) for i, _ in student.prompt.text_ids(texts[at])]
        ):
            batch = student.collate_texts([texts[i] for i in rows])
            parts.append(student.read_texts(to_device(batch, student.device)).cpu().numpy())
            order += rows
            bar.update(len(rows))
    return np.concatenate(parts)[np.argsort(order)]


def _batches(count: int, batch_size: int, lengths: Callable[[slice], Sequence[int]]) -> Iterator[list[int]]:
    """Row numbers in batches of like length, longest first, so that padding is rare and memory peaks at once.

    `lengths` is asked for one window of rows at a time.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
    for start in range(0, count, WINDOW):
        found = lengths(slice(start, start + WINDOW))
        ordered = sorted(range(start, start + len(found)), key=lambda row: -found[row - start])
        for first in range(0, len(ordered), batch_size):
            yield ordered[first : first + batch_size]


def _bar(total: int, label: str | None, *, unit: str) -> Any:
    from tqdm.auto import tqdm

    hidden = True if label is None else None  # None: shown in terminals, not in log files
    return tqdm(total=total, desc=label, unit=unit, disable=hidden, dynamic_ncols=True)
