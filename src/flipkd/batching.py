"""Rows of like length in one batch, so that little of it is padding: sorted for scoring, in a seeded order for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flipkd.errors import UsageError

SPREAD = 32  # batches that are sorted together in training: enough for like lengths, few enough to leave their rows to chance


def batches_by_length(lengths: Sequence[int], batch_size: int, *, most_tokens: int) -> Iterator[list[int]]:
    """Row numbers in batches of at most `batch_size` rows and `most_tokens` tokens, padding counted; at least one row.

    The longest come first, so that the memory's peak comes at once. Raises UsageError for a batch_size below 1.
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
    """The rows of `order` in batches: within windows of SPREAD batches sorted by length, windows as they come."""
    batches = []
    for start in range(0, len(order), window := batch_size * SPREAD):
        rows = sorted(order[start : start + window], key=lambda row: -lengths[row])
        batches += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    return batches
