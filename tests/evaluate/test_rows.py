"""checked_rows and finite_column: finite scores and labels of 0 or 1; other values are refused."""

import numpy as np
import pytest

from flipkd.errors import DataError, NumbersError
from flipkd.evaluate.rows import checked_rows, finite_column


@pytest.mark.parametrize("bad", [2, -1, 0.5, None, float("nan"), "1", "a match"])
def test_checked_rows_refuse_labels_other_than_0_and_1(bad):
    with pytest.raises(DataError, match=r"labels: 1 of 5 are neither 0 nor 1, the first at index 2"):
        checked_rows(np.arange(5.0), np.array([0, 1, bad, 1, 0], dtype=object))


@pytest.mark.parametrize("label", [[False, False, True, True], [0.0, 0.0, 1.0, 1.0], np.array([0, 0, 1, 1], np.int8)])
def test_checked_rows_accept_every_type_of_0_and_1(label):
    score, found = checked_rows([1, 2, 3, 4], label)
    assert (score.dtype, found.dtype, found.tolist()) == (np.float64, np.int64, [0, 0, 1, 1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_checked_rows_refuse_scores_that_are_not_finite_with_position_and_count(bad):
    with pytest.raises(NumbersError, match="scores: 2 of 5 are not finite, the first at index 1"):
        checked_rows([0, bad, 2, bad, 4], [0, 0, 1, 1, 1])


def test_checked_rows_refuses_other_shapes():
    with pytest.raises(DataError, match=r"labels have the shape \(3,\), scores \(4,\)"):
        checked_rows([1, 2, 3, 4], [0, 0, 1])
    with pytest.raises(DataError, match=r"got the shape \(4, 1\)"):
        checked_rows(np.ones((4, 1)), [0, 0, 1, 1])
    with pytest.raises(DataError, match="must be numbers"):
        finite_column(["one", "two"], what="scores")


def test_checked_rows_needs_rows_of_each_class():
    assert checked_rows([1.0, 2.0], [1, 1], per_class=0)[1].tolist() == [1, 1]
    with pytest.raises(DataError, match="needs both classes: n=2, positives=2"):
        checked_rows([1.0, 2.0], [1, 1])
    with pytest.raises(DataError, match="each class needs at least 2 rows"):
        checked_rows([1.0, 2.0, 3.0], [1, 1, 0], per_class=2)
