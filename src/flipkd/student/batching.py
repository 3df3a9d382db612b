"""Rows of like length together, longest first: little padding, and the memory's peak comes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flipkd.errors import UsageError

# On average at most. A batch that outgrows a CPU's cache is slower per token (docs/performance.md); for an accelerator
# the bound is there for memory alone.
TOKENS_PER_ROW = {"cpu": 48}
TOKENS_PER_ROW_ELSEWHERE = 512


def batches_by_length(lengths: Sequence[int], batch_size: int, *, device: str = "cpu") -> Iterator[list[int]]:
    """Row numbers in batches of at most `batch_size` rows and, padding counted, so many tokens a row as `device` likes.

    Raises UsageError for a batch_size below 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
    most = batch_size * TOKENS_PER_ROW.get(device, TOKENS_PER_ROW_ELSEWHERE)
    ordered = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    first = 0
    while first < len(ordered):
        longest = max(lengths[ordered[first]], 1)
        rows = min(batch_size, max(most // longest, 1))
        yield ordered[first : first + rows]
        first += rows
