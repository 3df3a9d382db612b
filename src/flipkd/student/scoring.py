"""The one way from pairs to scores: training, evaluation, matching and service all come through here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipkd.batching import batches_by_length
from flipkd.student.model import Reading, Student
from flipkd.student.prefix import Prefix, Prefixes, shared_prefix, without
from flipkd.student.rows import Row, pad, to_device
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
    with student.uncompiled(), _bar(len(left), progress, unit="pair") as bar:
        for rows in _batches(
            len(left), batch_size, student.device, lambda at: student.prompt.pair_lengths(left[at], right[at])
        ):
            sides = [left[i] for i in rows], [right[i] for i in rows]
            if states is not None:
                reading = states.read(*sides, batch_size=batch_size)
            else:
                reading = _read(student, *sides, represent=represent, kept=kept)
            answer[rows] = (reading.answers[:, 1] - reading.answers[:, 0]).cpu().numpy()
            if cosine is not None and reading.left is not None and reading.right is not None:
                cosine[rows] = (reading.left * reading.right).sum(1).cpu().numpy()
            bar.update(len(rows))
    return Scores(answer, cosine)


def _read(student: Student, left: Sequence[str], right: Sequence[str], *, represent: bool, kept: Prefixes) -> Reading:
    """A batch of pairs; what its rows begin with is read once."""
    batch, prefix = _behind_prefix(student, student.prompt.pair_rows(left, right), kept)
    text_prefix = None
    if represent and student.prompt.reading == "separate":
        texts, text_prefix = _behind_prefix(student, student.prompt.text_rows([*left, *right]), kept)
        batch |= {f"text_{name}": value for name, value in texts.items()}
    reading: Reading = student(batch, represent=represent, prefix=prefix, text_prefix=text_prefix)
    return reading


def _behind_prefix(student: Student, rows: Sequence[Row], kept: Prefixes) -> tuple[dict[str, Tensor], Prefix | None]:
    """The rows without what they begin with, padded, and that prefix, on the student's device."""
    shared = shared_prefix(rows)
    prefix = None
    if student.keeps_prefixes and len(shared) and max(len(row) for row in rows) <= student.window():
        ids = tuple(shared.ids)
        prefix = kept.get(ids) or kept.put(ids, student.read_prefix(shared))
        rows = [without(row, len(shared)) for row in rows]
    return to_device(pad(rows, padding_id=student.prompt.padding_id), student.device), prefix


@torch.no_grad()
def encode_texts(
    student: Student, texts: Sequence[str], *, batch_size: int = 32, progress: str | None = None
) -> Floats:
    """Unit vectors [n, D] of texts read alone, in the order given."""
    if not texts:
        return encode_texts(student, ["a"])[:0]  # no rows, but as wide as ever
    student.eval()
    kept, order, parts = Prefixes(), list[int](), list[Floats]()
    with student.uncompiled(), _bar(len(texts), progress, unit="text") as bar:
        for rows in _batches(
            len(texts),
            batch_size,
            student.device,
            lambda at: [len(ids) for ids, _ in student.prompt.text_ids(texts[at])],
        ):
            batch, prefix = _behind_prefix(student, student.prompt.text_rows([texts[i] for i in rows]), kept)
            parts.append(student.read_texts(batch, prefix=prefix).cpu().numpy())
            order += rows
            bar.update(len(rows))
    return np.concatenate(parts)[np.argsort(order)]


def _batches(
    count: int, batch_size: int, device: torch.device, lengths: Callable[[slice], Sequence[int]]
) -> Iterator[list[int]]:
    """Row numbers in batches of like length; `lengths` is asked for one window of rows at a time."""
    for start in range(0, count, WINDOW):
        found = lengths(slice(start, start + WINDOW))
        for rows in batches_by_length(found, batch_size, device=device.type):
            yield [start + row for row in rows]


def _bar(total: int, label: str | None, *, unit: str) -> Any:
    from tqdm.auto import tqdm

    hidden = True if label is None else None  # None: shown in terminals, not in log files
    return tqdm(total=total, desc=label, unit=unit, disable=hidden, dynamic_ncols=True)
