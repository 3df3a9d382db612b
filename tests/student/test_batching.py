"""Batches of like length: every row once, never more rows or tokens than allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flipkd.errors import UsageError
from flipkd.student.batching import TOKENS_PER_ROW, TOKENS_PER_ROW_ELSEWHERE, batches_by_length


@given(st.lists(st.integers(0, 700), max_size=60), st.integers(1, 40), st.sampled_from(["cpu", "cuda"]))
def test_every_row_is_in_one_batch_within_rows_and_tokens(lengths, batch_size, device):
    batches = list(batches_by_length(lengths, batch_size, device=device))
    most = TOKENS_PER_ROW.get(device, TOKENS_PER_ROW_ELSEWHERE)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert [lengths[row] for batch in batches for row in batch] == sorted(lengths, reverse=True)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        padded = len(batch) * max(lengths[row] for row in batch)
        assert padded <= batch_size * most or len(batch) == 1


def test_short_rows_fill_a_batch_and_long_ones_make_smaller_ones():
    most = TOKENS_PER_ROW["cpu"]
    lengths = [most] * 8 + [2 * most] * 8 + [100 * most] * 2
    assert [len(batch) for batch in batches_by_length(lengths, 8)] == [1, 1, 4, 4, 8]
    assert [len(batch) for batch in batches_by_length(lengths[:16], 8, device="cuda")] == [8, 8]


def test_no_batch_is_smaller_than_one():
    for size in (0, -3):
        with pytest.raises(UsageError, match=f"batch_size is {size}; it must be at least 1"):
            list(batches_by_length([1], size))
