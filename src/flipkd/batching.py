"""Batches of rows with similar length, to save padding: sorted for scoring, in a given order for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from flipkd.errors import UsageError

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
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
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
