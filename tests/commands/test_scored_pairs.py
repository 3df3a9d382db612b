"""Scored pairs read back: nodes of both files, decisions by the matcher or by a probability, damaged files."""

from __future__ import annotations

import pytest

from flipkd.commands.scored_pairs import read_scored
from flipkd.errors import DataError

TEXT = "row1,row2,rules,text1,probability,decision\n1,2,a,x,0.9,match\n2,3,a,x,0.5,review\n1,3,a,x,0.1,no_match\n"


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.csv").write_text(TEXT)
    return tmp_path / "pairs.csv"


def test_read_scored_has_the_decisions_of_the_matcher_or_of_a_threshold(pairs):
    scored = read_scored(pairs, [3], count=3, threshold=None)
    assert (scored.left.tolist(), scored.right.tolist()) == ([0, 1, 0], [1, 2, 2])
    assert scored.probability.tolist() == [0.9, 0.5, 0.1]
    assert (scored.match.tolist(), scored.review.tolist()) == ([True, False, False], [False, True, False])
    scored = read_scored(pairs, [3], count=3, threshold=0.5)
    assert (scored.match.tolist(), scored.review.any()) == ([True, True, False], False)


def test_read_scored_puts_rows_of_a_second_file_after_those_of_the_first(pairs):
    assert read_scored(pairs, [2, 3], count=3, threshold=None).right.tolist() == [3, 4, 4]


@pytest.mark.parametrize(("sizes", "count"), [([2], 3), ([3], 4), ([3, 2], 3), ([1, 3], 3)])
def test_read_scored_refuses_a_file_of_other_pairs(pairs, sizes, count):
    with pytest.raises(DataError, match="is not the file that match wrote"):
        read_scored(pairs, sizes, count=count, threshold=None)


def test_read_scored_needs_no_file_for_no_pairs():
    assert [len(column) for column in read_scored(None, [3], count=0, threshold=None)] == [0] * 5
