"""ColumnTeacher: given scores by pair."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.errors import DataError
from flipkd.teachers.scores import ColumnTeacher


def test_column_teacher_finds_scores_by_pair():
    teacher = ColumnTeacher(["a", "b", "a"], ["x", "y", "y"], [0.1, 2.5, -3.0])
    found = teacher.score(["a", "b", "b"], ["y", "y", "y"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([-3.0, 2.5, 2.5], dtype=np.float32))


def test_column_teacher_fingerprint_does_not_depend_on_order():
    first = ColumnTeacher(["a", "b"], ["x", "y"], [0.1, 0.2])
    assert ColumnTeacher(["b", "a", "a"], ["y", "x", "x"], [0.2, 0.1, 0.1]).fingerprint == first.fingerprint
    assert ColumnTeacher(["a", "b"], ["x", "y"], [0.1, 0.3]).fingerprint != first.fingerprint
    assert ColumnTeacher(["a", "c"], ["x", "y"], [0.1, 0.2]).fingerprint != first.fingerprint
    assert first.describe()["pairs"] == 2


@pytest.mark.scenario("N4")
@pytest.mark.parametrize(
    ("left", "scores", "message"),
    [
        (["a"], [0.1, 0.2], "1 left texts, 2 right texts, 2 scores"),
        (["a", "b"], [0.1, float("nan")], "row 1: teacher score nan"),
        (["a", "a"], [0.1, 0.2], "row 1: duplicate pair with a different"),
    ],
)
def test_column_teacher_refuses_invalid_scores_with_the_row(left, scores, message):
    with pytest.raises(DataError, match=message):
        ColumnTeacher(left, ["x", "x"], scores)


def test_column_teacher_reports_missing_scores():
    teacher = ColumnTeacher(["a", "b"], ["x", "y"], [0.5, None])
    with pytest.raises(DataError, match="2 of 3 pairs have no teacher score, first at position 1"):
        teacher.score(["a", "b", "x"], ["x", "y", "a"])
