"""The one way from pairs to scores: training, evaluation, matching and service all come through here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipkd.batching import batches_by_length
from flipkd.progress import bar as progress_bar
from flipkd.student.limits import BatchLimits
from flipkd.student.model import Student, StudentOutput
from flipkd.student.prefix import Prefix, Prefixes, drop_prefix, shared_prefix
from flipkd.student.rows import Row, pack, pad, to_device
from flipkd.student.text_states import TextStates, text_states

Floats = NDArray[np.float32]
WINDOW = 8192  # pairs that are tokenised and sorted by length at once: bounds memory whatever the input's size


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
    batch_size: int | None = None,
    return_embeddings: bool = False,
    states: TextStates | None = None,
    progress: str | None = None,
) -> Scores:
    """Scores [N] in the order of the pairs, whatever the batch size; `progress` is the label of a progress bar.

    batch_size: pairs in one pass; default 32 on a CPU, as many as fit on a GPU. `states`: texts that blocked reading has
    read before, for a student whose weights stay as they are.
    """
    kept = Prefixes()  # of this call only: the weights may change before the next
    states = states or text_states(student)
    limits = BatchLimits.of(student, batch_size)

    def read(rows: Sequence[int]) -> Tensor:
        """Scores [n, 1 or 2] of the pairs with these numbers."""
        sides = [left[i] for i in rows], [right[i] for i in rows]
        if states is not None:
            reading = states.read(*sides, batch_size=limits.rows)
        else:
            reading = _read(student, *sides, return_embeddings=return_embeddings, kept=kept)
        columns = [reading.answers[:, 1] - reading.answers[:, 0]]
        if return_embeddings and reading.left is not None and reading.right is not None:
            columns.append((reading.left * reading.right).sum(1))
        return torch.stack(columns, dim=1)

    if len(left) != len(right):
        raise ValueError(f"{len(left)} left texts and {len(right)} right ones")
    found = _windows(
        student,
        len(left),
        limits,
        lengths=lambda at: student.prompt.pair_lengths(left[at], right[at]),
        read=read,
        bar=(progress, "pair"),
    )
    values = found if len(left) else np.empty((0, 1 + return_embeddings), np.float32)
    return Scores(values[:, 0], values[:, 1] if return_embeddings else None)


def _read(
    student: Student, left: Sequence[str], right: Sequence[str], *, return_embeddings: bool, kept: Prefixes
) -> StudentOutput:
    """A batch of pairs; where rows are padded, what they begin with is read once."""
    if student.padding_free:
        batch = to_device(student.collate(left, right, return_embeddings=return_embeddings), student.device)
        return student(batch, return_embeddings=return_embeddings)  # type: ignore[no-any-return]  # of torch's __call__
    batch, prefix = _behind_prefix(student, student.prompt.pair_rows(left, right), kept)
    text_prefix = None
    if return_embeddings and student.prompt.reading == "separate":
        texts, text_prefix = _behind_prefix(student, student.prompt.text_rows([*left, *right]), kept)
        batch |= {f"text_{name}": value for name, value in texts.items()}
    reading: StudentOutput = student(
        batch, return_embeddings=return_embeddings, prefix=prefix, text_prefix=text_prefix
    )
    return reading


def _behind_prefix(student: Student, rows: Sequence[Row], kept: Prefixes) -> tuple[dict[str, Tensor], Prefix | None]:
    """The rows without what they begin with, padded, and that prefix, on the student's device."""
    shared = shared_prefix(rows)
    prefix = None
    if student.supports_prefix_cache and len(shared) and max(len(row) for row in rows) <= student.window():
        ids = tuple(shared.ids)
        prefix = kept.get(ids) or kept.put(ids, student.read_prefix(shared))
        rows = [drop_prefix(row, len(shared)) for row in rows]
    return to_device(pad(rows, padding_id=student.prompt.padding_id), student.device), prefix


@torch.no_grad()
def encode_texts(
    student: Student, texts: Sequence[str], *, batch_size: int | None = None, progress: str | None = None
) -> Floats:
    """Unit vectors [n, D] of texts read alone, in the order given; batch_size as for `score_pairs`."""
    if not texts:
        return encode_texts(student, ["a"])[:0]  # no rows, but as wide as ever
    kept = Prefixes()

    def read(numbers: Sequence[int]) -> Tensor:
        """Vectors [n, D] of the texts with these numbers."""
        rows = student.prompt.text_rows([texts[i] for i in numbers])
        if student.padding_free:
            return student.read_texts(to_device(pack(rows), student.device))
        batch, prefix = _behind_prefix(student, rows, kept)
        return student.read_texts(batch, prefix=prefix)

    return _windows(
        student,
        len(texts),
        BatchLimits.of(student, batch_size),
        lengths=lambda at: [len(ids) for ids, _ in student.prompt.text_ids(texts[at])],
        read=read,
        bar=(progress, "text"),
    )


def _windows(
    student: Student,
    count: int,
    limits: BatchLimits,
    *,
    lengths: Callable[[slice], Sequence[int]],
    read: Callable[[Sequence[int]], Tensor],
    bar: tuple[str | None, str],
) -> Floats:
    """What `read` gives of each row, [count, D], in the rows' order.

    Results are fetched a window late: a GPU works on one window while the texts of the next are tokenised.
    """
    student.eval()
    order, parts, waiting = list[int](), list[Floats](), list[Tensor]()
    with student.eager_mode(), progress_bar(count, bar[0], unit=bar[1]) as shown:
        for window in _batches(count, limits, lengths):
            started = []
            for rows in window:
                started.append(read(rows))
                order += rows
                shown.update(len(rows))
            parts += _fetched(waiting)
            waiting = started
        parts += _fetched(waiting)
    return np.concatenate(parts)[np.argsort(order)] if parts else np.empty((0, 0), np.float32)


def _fetched(results: Sequence[Tensor]) -> list[Floats]:
    """Tensors of one window on the host, by one copy."""
    return [torch.cat(list(results)).float().cpu().numpy()] if results else []


def _batches(count: int, limits: BatchLimits, lengths: Callable[[slice], Sequence[int]]) -> Iterator[list[list[int]]]:
    """The batches of each window: row numbers of like length; `lengths` is asked for one window of rows at a time."""
    for start in range(0, count, WINDOW):
        found = lengths(slice(start, start + WINDOW))
        batches = batches_by_length(found, limits.rows, most_tokens=limits.tokens)
        yield [[start + row for row in rows] for rows in batches]
