"""Batches of rows with similar length, to save padding: sorted for scoring, in a given order for training."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from flipkd.inputs import check_count

WINDOW = 32  # batches that are sorted together: enough for similar lengths, few enough to keep the order random
_is_wanted: ContextVar[Callable[[], bool]] = ContextVar("is_wanted", default=lambda: True)


class Abandoned(Exception):
    """Nobody waits for the result of a computation any more, so it stopped before its next batch."""


@contextmanager
def abandoned_unless(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Context manager in which `check_wanted` raises Abandoned once `is_wanted` returns False."""
    token = _is_wanted.set(is_wanted)
    try:
        yield
    finally:
        _is_wanted.reset(token)


def check_wanted() -> None:
    """Raise Abandoned when nobody waits for the result; a loop over batches calls this before each."""
    if not _is_wanted.get()():
        raise Abandoned


def batches_by_length(lengths: Sequence[int], batch_size: int, *, most_tokens: int) -> Iterator[list[int]]:
    """Yield batches of row numbers: at most `batch_size` rows and `most_tokens` tokens with padding, at least one row.

    The longest rows come first, so that memory peaks in the first batch. Raises UsageError for a batch_size below 1.
    """
    check_count("batch_size", batch_size)
    ordered = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    first = 0
    while first < len(ordered):
        longest = max(lengths[ordered[first]], 1)
        rows = min(batch_size, max(most_tokens // longest, 1))
        yield ordered[first : first + rows]
        first += rows


def batches_near(order: Sequence[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Split the rows of `order` into batches; rows are sorted by length within each window of WINDOW batches."""
    batches = []
    for start in range(0, len(order), window := batch_size * WINDOW):
        rows = sorted(order[start : start + window], key=lambda row: -lengths[row])
        batches += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    return batches


def batches_of_lists(order: Sequence[int], list_of: Sequence[int], batch_size: int) -> list[list[int]]:
    """Split the rows of `order` into batches of `batch_size` rows (the last may be shorter) that keep lists together.

    list_of: [N] the list of each row. The longest lists come first, each in the fullest batch that has space for all of it.
    A list is divided only where it is longer than a batch, or where no batch has enough space left.
    """
    lists: dict[int, list[int]] = defaultdict(list)
    for row in order:
        lists[list_of[row]].append(row)
    chunks = [rows[at : at + batch_size] for rows in lists.values() for at in range(0, len(rows), batch_size)]
    chunks.sort(key=len)
    full, rest = divmod(len(order), batch_size)
    batches: list[list[int]] = [[] for _ in range(full + (rest > 0))]
    space: dict[int, list[int]] = defaultdict(list)  # free rows -> numbers of batches
    space[batch_size] = list(range(full))
    space[rest] += [full] if rest else []
    while chunks:
        chunk = chunks.pop()
        free = next((size for size in range(len(chunk), batch_size + 1) if space[size]), None)
        if free is None:
            free = max(size for size, numbers in space.items() if numbers and size)
            insort(chunks, chunk[free:], key=len)
        number = space[free].pop()
        batches[number] += chunk[:free]
        space[free - len(chunk[:free])].append(number)
    return batches
