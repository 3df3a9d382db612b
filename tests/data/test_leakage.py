"""leaks_by_side: texts in two splits, per side; entries of an FAQ are no leak."""

from __future__ import annotations

import pytest
from datasets import Dataset

from flipkd.data.leakage import Leak, leaks_by_side


def data(rows):
    return Dataset.from_dict({"text1": [row[0] for row in rows], "text2": [row[1] for row in rows]})


def between(train, test) -> Leak:
    (found,) = leaks_by_side({"train": data(train), "test": data(test)}).values()
    return found


def test_leaks_count_rows_of_the_later_split():
    splits = {
        "train": data([("a b", "x"), ("c", "y")]),
        "test": data([("X!", "new"), ("new", "A-B"), ("C", "Y"), ("z", "w"), ("z", "v")]),
        "other": data([("z", "a b")]),
    }
    found = {names: leak.rows for names, leak in leaks_by_side(splits).items()}
    assert found == {("train", "test"): 3, ("train", "other"): 1, ("test", "other"): 1}
    assert leaks_by_side({"train": splits["train"]}) == {}


def test_leaks_by_side_counts_each_side():
    train = [("a", "x"), ("b", "y"), ("c", "z")]
    assert between(train, [("a", "new"), ("new", "Y!"), ("C", "z"), ("x", "w"), ("n", "m")]) == Leak(4, 3, 2, 0)


ENTRIES = ["x", "y", "z", "w"]


@pytest.mark.parametrize("entries", [1, 2, 4])
def test_shared_right_list_is_not_a_leak(entries):
    train = [(f"q {i}", ENTRIES[i % entries]) for i in range(20)]
    test = [(f"new {i}", ENTRIES[i % entries]) for i in range(10)]
    assert between(train, test) == Leak(0, 0, 10, entries)
    # a question that repeats is one, a question that reads like an entry is none
    assert between(train, [*test, ("Q 3?", "x"), ("X", "x")]) == Leak(1, 1, 12, entries)


def test_distinct_right_texts_are_leaks():
    train = [(f"q {i}", f"answer {i}") for i in range(20)]
    assert between(train, [(f"new {i}", f"answer {i}") for i in range(10)]) == Leak(10, 0, 10, 0)


def test_few_texts_on_both_sides_are_not_a_shared_list():
    texts = [f"t {i}" for i in range(6)]
    every = [(a, b) for a in texts for b in texts if a < b]
    assert between(every[::2], every[1::2]).rows == len(every[1::2])


def test_more_documents_than_queries_are_not_a_shared_list():
    train = [(f"q {i % 4}", f"d {i % 8}") for i in range(16)]
    assert between(train, [("new", "d 1"), ("other", "e")]) == Leak(1, 0, 1, 0)
