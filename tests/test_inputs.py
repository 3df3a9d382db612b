"""Texts and pairs of callers: accepted types, and errors that name the first invalid one."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from datasets import Dataset

from flipkd.errors import DataError, UsageError
from flipkd.inputs import check_count, check_text, checked_sides, checked_texts


def test_checked_sides_accepts_any_iterable():
    rows = [("a", "b"), ["c", "d"], np.array(["e", "f"])]
    assert checked_sides(iter(rows)) == (["a", "c", "e"], ["b", "d", "f"])
    assert checked_sides([]) == ([], [])
    assert checked_texts(text for text in ("a", "a")) == ["a", "a"]


@pytest.mark.parametrize(
    "check, given, message",
    [
        (checked_sides, ("a", "b"), r"write \[\(text1, text2\)\]"),
        (checked_sides, [("a", "b"), ("a",)], "pair 1 is"),
        (checked_sides, [("a", "b"), ("c", " ")], "pair 1, text 2, is empty"),
        (checked_sides, 3, "a list of pairs is needed"),
        (checked_sides, {"text1": ["a"], "text2": ["b"]}, r"got a dict .* write list\(zip\(data\['text1'\]"),
        (checked_sides, pandas.DataFrame({"text1": ["a"], "text2": ["b"]}), "got a DataFrame where a list of pairs"),
        (checked_sides, Dataset.from_dict({"text1": ["a"], "text2": ["b"]}), "got a Dataset where a list of pairs"),
        (checked_sides, [{"text1": "a", "text2": "b"}], r"a pair is two texts: \(text1, text2\)"),
        (checked_texts, "abc", "a list of texts is needed"),
        (checked_texts, ["a", None], "text 1 is None"),
        (checked_texts, ["a", "\udce9"], "text 1 has a byte that is not UTF-8"),
        (checked_texts, ["\ud800"], "text 0 has a lone surrogate at character 0"),
    ],
)
def test_first_invalid_input_is_named(check, given, message):
    with pytest.raises(DataError, match=message):
        check(given)


@pytest.mark.parametrize("value", [0, -1, 1.5, "8", True, None, float("nan")])
def test_check_count_names_anything_but_an_integer_of_at_least_1(value):
    check_count("top_k", 1)
    check_count("top_k", np.int64(3))
    with pytest.raises(UsageError, match=f"top_k is '?{value}'?; it must be an integer of at least 1, or None$"):
        check_count("top_k", value, otherwise=", or None")


def test_check_text_skips_texts_that_are_known_to_be_valid():
    valid = {" "}
    check_text(" ", "the query", valid)
    with pytest.raises(DataError, match="the query is empty"):
        check_text(" ", "the query")
