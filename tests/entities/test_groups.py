"""Groups of rows with the same value, and the pairs of rows that they make."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.entities.groups import Groups, equal_pairs, first_rows, numbered, row_pairs

VALUES = st.lists(st.none() | st.sampled_from("abcd"), max_size=12)


def groups(left, right):
    numbers, values = numbered(left, right)
    return [Groups(side, len(values)) for side in numbers], values


@settings(deadline=None)
@given(VALUES, VALUES, st.integers(1, 12))
def test_equal_pairs_are_those_of_a_plain_loop(left, right, most):
    sides, values = groups(left, right)
    found_left, found_right, skipped = equal_pairs(*sides, most=most)
    broad = {v for v in "abcd" if max(left.count(v), right.count(v)) > most and v in left and v in right}
    expected = [(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if a == b and a and a not in broad]
    assert sorted(zip(found_left.tolist(), found_right.tolist(), strict=True)) == expected
    assert {values[value] for value in skipped.tolist()} == broad


@settings(deadline=None)
@given(VALUES, VALUES, st.integers(1, 3))
def test_row_pairs_use_the_first_rows_of_a_value(left, right, most):
    sides, values = groups(left, right)
    a, b = np.array([0, 1, 0]), np.array([1, 0, 0])
    if len(values) < 2:
        return
    rows = [[[i for i, v in enumerate(side) if v == value][:most] for value in values] for side in (left, right)]
    expected = [(i, j) for x, y in zip(a, b, strict=True) for i in rows[0][x] for j in rows[1][y]]
    found = row_pairs(*sides, a, b, most=most)
    assert list(zip(*(side.tolist() for side in found), strict=True)) == expected


def test_first_rows_are_those_where_a_value_is_seen_first():
    [numbers], values = numbered(["b", "a", "b", "c", "a"])
    assert values == ["b", "a", "c"]
    assert first_rows(numbers).tolist() == [0, 1, 0, 3, 1]
