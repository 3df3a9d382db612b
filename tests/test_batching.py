"""batches_by_length and batches_near: every row once, never more rows or tokens than allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flipkd.batching import WINDOW, batches_by_length, batches_near, batches_of_lists
from flipkd.errors import UsageError


@given(st.lists(st.integers(0, 700), max_size=60), st.integers(1, 40), st.sampled_from([50, 1024]))
def test_batches_by_length_has_every_row_once_within_the_limits_of_rows_and_tokens(lengths, batch_size, most):
    batches = list(batches_by_length(lengths, batch_size, most_tokens=most))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert [lengths[row] for batch in batches for row in batch] == sorted(lengths, reverse=True)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        padded = len(batch) * max(lengths[row] for row in batch)
        assert padded <= most or len(batch) == 1


def test_batches_by_length_makes_smaller_batches_of_longer_rows():
    lengths = [128] * 8 + [256] * 8 + [5000] * 2
    assert [len(batch) for batch in batches_by_length(lengths, 8, most_tokens=1024)] == [1, 1, 4, 4, 8]
    assert [len(batch) for batch in batches_by_length(lengths, 8, most_tokens=2**16)] == [8, 8, 2]


def test_batches_by_length_refuses_a_batch_size_below_1():
    for size in (0, -3):
        with pytest.raises(UsageError, match=f"batch_size is {size}; it must be an integer of at least 1"):
            list(batches_by_length([1], size, most_tokens=9))


@given(st.lists(st.integers(0, 9), max_size=400), st.integers(1, 5), st.randoms(use_true_random=False))
def test_batches_near_sorts_rows_by_length_within_each_window(lengths, batch_size, random):
    order = random.sample(range(len(lengths)), len(lengths))
    batches = batches_near(order, lengths, batch_size)
    rows, window = [row for batch in batches for row in batch], batch_size * WINDOW
    for start in range(0, len(order), window):
        assert sorted(rows[start : start + window]) == sorted(order[start : start + window])
        found = [lengths[row] for row in rows[start : start + window]]
        assert found == sorted(found, reverse=True)
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(st.lists(st.integers(0, 12), max_size=80), st.integers(1, 9), st.randoms(use_true_random=False))
def test_batches_of_lists_has_every_row_once_in_full_batches(list_of, batch_size, random):
    order = random.sample(range(len(list_of)), len(list_of))
    batches = batches_of_lists(order, list_of, batch_size)
    assert sorted(row for batch in batches for row in batch) == list(range(len(list_of)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(batches)


def test_batches_of_lists_divides_a_list_only_where_no_batch_has_space():
    def lists_in(sizes, batch_size):
        list_of = [number for number, size in enumerate(sizes) for _ in range(size)]
        batches = batches_of_lists(range(len(list_of)), list_of, batch_size)
        return sorted(sorted(list_of[row] for row in batch) for batch in batches)

    assert lists_in([3, 1, 4, 2, 2], 4) == [[0, 0, 0, 1], [2, 2, 2, 2], [3, 3, 4, 4]]
    assert lists_in([5, 3], 4) == [[0, 0, 0, 0], [0, 1, 1, 1]], "a list longer than a batch"
    assert sum(len(set(batch)) for batch in lists_in([3, 3, 2], 4)) == 4, "one list of three has no batch left"
