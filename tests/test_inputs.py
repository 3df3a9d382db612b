"""Texts and pairs as callers hand them over: what is taken, and what the error names."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.errors import DataError
from flipkd.inputs import check_text, checked_sides, checked_texts


def test_any_iterable_of_pairs_gives_its_two_sides():
    rows = [("a", "b"), ["c", "d"], np.array(["e", "f"])]
    assert checked_sides(iter(rows)) == (["a", "c", "e"], ["b", "d", "f"])
    assert checked_sides([]) == ([], [])
    assert checked_texts(text for text in ("a", "a")) == ["a", "a"]


@pytest.mark.parametrize(
    "check, given, said",
    [
        (checked_sides, ("a", "b"), r"write \[\(text1, text2\)\]"),
        (checked_sides, [("a", "b"), ("a",)], "pair 1 is"),
        (checked_sides, [("a", "b"), ("c", " ")], "pair 1, text 2, is empty"),
        (checked_sides, 3, "a list of pairs is needed"),
        (checked_texts, "abc", "a list of texts is needed"),
        (checked_texts, ["a", None], "text 1 is None"),
        (checked_texts, ["a", "\udce9"], "text 1 holds a byte that is not UTF-8"),
        (checked_texts, ["\ud800"], "text 0 holds half a surrogate pair at character 0"),
    ],
)
def test_the_first_fault_is_named(check, given, said):
    with pytest.raises(DataError, match=said):
        check(given)


def test_a_text_that_was_good_is_not_looked_at_again():
    good = {" "}
    check_text(" ", "the query", good)
    with pytest.raises(DataError, match="the query is empty"):
        check_text(" ", "the query")
