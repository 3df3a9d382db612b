"""check_pairs: each kind of error is counted, has its rows, and is a problem or a warning."""

from __future__ import annotations

import json
import time

import pytest
from datasets import Dataset
from pandas import DataFrame

from flipkd.data.check import check_pairs, require_trainable
from flipkd.data.split import split_pairs
from flipkd.errors import DataError, UsageError

GOOD = [("a", "b", 1), ("c", "d", 0), ("e", "f", 1), ("g", "h", 0)]


def data(rows, **more):
    left, right, label = ([row[i] for row in rows] for i in range(3))
    return Dataset.from_dict({"text1": left, "text2": right, "label": label} | more)


@pytest.mark.parametrize("call", [check_pairs, split_pairs])
@pytest.mark.parametrize(
    "given, said",
    [
        ("pairs.csv", "got a str without text1"),
        (DataFrame({"text1": ["a"], "text2": ["b"]}), "got a DataFrame without text1"),
        (Dataset.from_dict({"text1": ["a"], "question2": ["b"]}), "got a Dataset without text2"),
    ],
)
def test_check_and_split_name_what_is_no_data_set_of_pairs(call, given, said):
    with pytest.raises(UsageError, match=f"{said}; give the data set of read_pairs"):
        call(given)


def test_check_pairs_finds_nothing_in_clean_pairs():
    report = check_pairs(data([*GOOD, ("i", "jkl", None)]))
    assert report.problems == report.warnings == []
    assert report.counts == {
        "rows": 5,
        "labelled": 4,
        "unlabelled": 1,
        "positive": 2,
        "negative": 2,
        "positive_share": 0.5,
        "empty_texts": 0,
        "duplicate_pairs": 0,
        "conflicting_pairs": 0,
        "identical_sides": 0,
        "distinct_text1": 5,
        "distinct_text2": 5,
        "text1_characters_mean": 1.0,
        "text1_characters_p95": 1,
        "text1_characters_max": 1,
        "text2_characters_mean": 1.4,
        "text2_characters_p95": 3,
        "text2_characters_max": 3,
    }
    require_trainable(report)


def test_check_report_counts_are_json_and_table_is_text():
    report = check_pairs(data(GOOD * 400))
    assert json.loads(json.dumps(report.counts)) == report.counts
    assert ("rows", "1,600") in report.table()
    assert ("positive share", "0.5") in report.table()
    assert all(isinstance(cell, str) for row in report.table() for cell in row)


@pytest.mark.scenario("D9", "D10")
@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "there are no rows"),
        ([("a", "b", None)], "no row is labelled"),
        ([("a", "b", 1), ("c", "d", 1), ("e", "f", None)], "only one class: all 2 labelled rows are 1 (match)"),
        ([("a", "b", 0), ("c", "d", 0)], "only one class: all 2 labelled rows are 0 (no match)"),
        ([("a", "b", 0), ("c", "d", 0), ("e", "f", 1)], "rows with label 1 (match): 1, with label 0 (no match): 2"),
    ],
)
def test_too_few_labels_are_a_problem(rows, message):
    report = check_pairs(data(rows), name="train.csv")
    assert len(report.problems) == 1
    assert message in report.problems[0]
    with pytest.raises(DataError, match=r"^train\.csv: cannot be used: "):
        require_trainable(report)


def test_missing_label_column_is_a_problem():
    report = check_pairs(Dataset.from_dict({"text1": ["a"], "text2": ["b"]}))
    assert report.counts["unlabelled"] == 1
    assert report.counts["positive_share"] is None
    assert ("positive share", "-") in report.table()


@pytest.mark.scenario("D11")
@pytest.mark.parametrize("empty", ["", " ", "\t\r\n", "\u200b", "\u00a0\u3000", "\ufeff\u200d", "\u202e\x01"])
def test_empty_texts_are_a_problem(empty):
    report = check_pairs(data([*GOOD, (empty, "x", 1), ("y", empty, 0), (empty, empty, 1)]))
    assert report.counts["empty_texts"] == 4
    assert report.problems == ["empty texts: 4 (row 5, 6, 7); fill or remove these rows"]


@pytest.mark.parametrize("text", ["?", "👍", "\u0301", "\ufdd0x", "_", "字"])
def test_check_pairs_does_not_count_texts_without_letters_as_empty(text):
    assert check_pairs(data([*GOOD, (text, "x", 1)])).counts["empty_texts"] == 0


@pytest.mark.scenario("D8")
@pytest.mark.parametrize("again", [("a b", "c"), ("c", "a b"), ("A  B", "C"), ("\uff41\u3000b ", "c"), ("c", "a\nb")])
def test_duplicates_in_either_order_give_a_warning(again):
    report = check_pairs(data([("a b", "c", 1), *GOOD, (*again, 1), (*again, None)]))
    assert report.counts["duplicate_pairs"] == 2
    assert report.counts["conflicting_pairs"] == 0
    assert report.problems == []
    assert report.warnings == ["duplicates of an earlier pair: 2 (row 6, 7)"]


def test_pairs_with_one_common_text_are_not_duplicates():
    assert check_pairs(data([*GOOD, ("a", "d", 1), ("b", "c", 0)])).counts["duplicate_pairs"] == 0


@pytest.mark.scenario("D8")
def test_conflicting_labels_are_a_problem():
    rows = [(f"left {i}", f"right {i}", i % 2) for i in range(100)]
    rows += [(f"right {i}", f"left {i}", 1 - i % 2) for i in range(10)]
    report = check_pairs(data(rows))
    assert report.counts["conflicting_pairs"] == 10
    assert report.counts["duplicate_pairs"] == 10
    problem = report.problems[0]
    assert problem.startswith("pairs with both labels: 10 (rows 1 and 101, ")
    assert problem.count(" and 10") == 5
    assert problem.endswith(
        ", ...); keep one label for each pair; where (a, b) may match and (b, a) not, set directed: true"
    )


def test_check_pairs_does_not_suggest_directed_for_a_conflict_in_one_order():
    report = check_pairs(data([*GOOD, ("e", "f", 0), ("a", "b", None), ("e", "f", 1)]))
    assert report.problems == ["pairs with both labels: 1 (rows 3 and 5); keep one label for each pair"]


@pytest.mark.parametrize(
    "one, other",
    [
        ("WHO rules on import", "who rules on import"),
        ("a 10\u2075 N load", "a 105 N load"),
        ("Polish", "polish"),
        ("H\u2082O", "H2O"),
        ("\u2460 first", "1 first"),
        ("\uff21", "A"),
        ("two  blanks", "two blanks"),
        (" padded", "padded"),
    ],
)
def test_check_pairs_lets_texts_equal_only_after_folding_have_both_labels(one, other):
    for rows in ([(one, "x", 1), (other, "x", 0)], [(one, "x", 1), ("x", other, 0)]):
        report = check_pairs(data([*GOOD, *rows]))
        assert report.problems == []
        assert report.counts["conflicting_pairs"] == 0
        same = report.counts["duplicate_pairs"]
        warned = "pairs with both labels that differ only in case, width or spaces: 1 (rows 5 and 6)"
        assert (warned in report.warnings) == bool(same)
    assert bool(same) == ("\u2075" not in one)


def test_check_pairs_reports_a_conflicting_pair_once():
    report = check_pairs(data([*GOOD, ("I", "x", 1), ("I", "x", 0), ("i", "x", 1)]))
    assert report.problems == ["pairs with both labels: 1 (rows 5 and 6); keep one label for each pair"]
    assert report.warnings == ["duplicates of an earlier pair: 2 (row 6, 7)"]


def test_directed_pairs_are_duplicates_only_in_the_same_order():
    rows = [*GOOD, ("b", "a", 0), ("B", " a", 0), ("d", "c", 1)]
    report = check_pairs(data(rows), directed=True)
    assert (report.counts["duplicate_pairs"], report.counts["conflicting_pairs"], report.problems) == (1, 0, [])
    assert report.warnings == ["duplicates of an earlier pair: 1 (row 6)"]
    assert check_pairs(data(rows)).counts["conflicting_pairs"] == 2
    report = check_pairs(data([*GOOD, ("a", "b", 0)]), directed=True)
    assert report.problems == ["pairs with both labels: 1 (rows 1 and 5); keep one label for each pair"]


def test_identical_sides_give_a_warning():
    report = check_pairs(data([*GOOD, ("Same", "same ", 1)]))
    assert report.counts["identical_sides"] == 1
    assert report.warnings == ["pairs of two equal texts: 1 (row 5)"]


def test_check_pairs_counts_tokens():
    def tokenizer(texts, add_special_tokens):
        assert add_special_tokens is False
        assert len(set(texts)) == len(texts)
        return {"input_ids": [text.split() for text in texts]}

    rows = [("one two", "one", i % 2) for i in range(95)] + [("one " * 7, "one two three", i % 2) for i in range(5)]
    counts = check_pairs(data(rows), tokenizer=tokenizer).counts
    assert counts["text1_tokens_mean"] == 2.2  # (95 * 2 + 5 * 7) / 100 = 2.25, to one digit
    assert counts["text1_tokens_p95"] == 7
    assert counts["text1_tokens_max"] == 7
    assert counts["text2_tokens_max"] == 3


def test_check_pairs_of_an_empty_data_set_has_no_lengths():
    assert check_pairs(data([])).counts["text1_characters_mean"] is None


@pytest.mark.slow
def test_check_pairs_takes_seconds_for_a_hundred_thousand_pairs():
    rows = [(f"how do i do thing {i} à la carte", f"what about {i % 5000}", i % 2) for i in range(100_000)]
    dataset = data(rows)
    start = time.process_time()
    report = check_pairs(dataset)
    assert time.process_time() - start < 10
    assert report.counts["duplicate_pairs"] == 0
