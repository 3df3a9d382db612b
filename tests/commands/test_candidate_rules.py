"""Rules of candidates: parsing of --equal, and the distinct texts of two files. test_candidates.py has their pairs."""

from __future__ import annotations

import pytest

from flipkd.commands.candidate_rules import DistinctTexts, EqualRule, equal_rule
from flipkd.data.records import Records


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("brand", ["brand"], ["brand"]),
        ("brand=maker", ["brand"], ["maker"]),
        ("year+brand=maker", ["year", "brand"], ["year", "maker"]),
        ("C+", ["C+"], ["C+"]),
        ("a=b", ["a=b"], ["a=b"]),
    ],
)
def test_an_equal_rule_names_columns_of_both_files(text, left, right):
    assert equal_rule(text, ["C+", "a=b"], ["a=b", "C+"]) == EqualRule(f"equal:{text}", left, right)


def test_distinct_texts_of_the_same_normal_form_are_one():
    left, right = Records("l", ["a  b", "c", "a b"], {}), Records("r", ["d", "a b\u00ad"], {})
    distinct = DistinctTexts(left, right)
    assert distinct.texts == ["a b", "c", "d"]
    assert [distinct.of_side(0), distinct.of_side(1)] == [["a b", "c"], ["d", "a b"]]
    assert [side.tolist() for side in distinct.numbers] == [[0, 1, 0], [2, 0]]
