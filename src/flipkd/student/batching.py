"""Rows of like length together, longest first: little padding, and the memory's peak comes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flipkd.errors import UsageError

TOKENS_PER_ROW = 48  # on average at most, so that a batch of long texts costs no more memory and no less speed


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Row numbers in batches of at most `batch_size` rows and, padding counted, `TOKENS_PER_ROW` times as many tokens.

    Raises UsageError for a batch_size below 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
    ordered = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    first = 0
    while first < len(ordered):
        longest = max(lengths[ordered[first]], 1)
        rows = min(batch_size, max(batch_size * TOKENS_PER_ROW // longest, 1))
        yield ordered[first : first + rows]
        first += rows
