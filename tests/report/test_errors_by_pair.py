"""Errors by pair and by text length: by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flipkd.report.errors_by_pair import MAX_EXAMPLES, by_length, mistakes, who_is_right


def decided(comparison, *decisions):
    """The comparison with its runs' test scores replaced, so that they decide as told (threshold in between)."""
    runs = []
    for run, matches in zip(comparison.runs, decisions, strict=True):
        scores = run.threshold + np.where(np.array(matches) == 1, 1.0, -1.0)
        runs.append(dataclasses.replace(run, test={"score": scores}))
    return dataclasses.replace(comparison, runs=runs)


@pytest.fixture
def two(make_comparison):
    """plain and teacher on six pairs with the labels 0 1 0 1 0 1."""
    return decided(make_comparison(["plain", "teacher"], seeds=(0,), n=6), [0, 1, 1, 1, 0, 0], [0, 1, 0, 0, 1, 0])


def test_who_is_right_counts(two):
    assert who_is_right(two, two.runs) == [
        {"first": "plain", "second": "teacher", "both": 2, "only_first": 2, "only_second": 1, "neither": 1}
    ]


def test_mistakes_are_pairs_with_a_wrong_decision(two):
    found, count = mistakes(two, two.runs)
    assert count == 4
    assert {row["text1"]: row["wrong"] for row in found} == {
        two.text1[2]: [0],
        two.text1[3]: [1],
        two.text1[4]: [1],
        two.text1[5]: [0, 1],
    }
    (third,) = [row for row in found if row["text1"] == two.text1[3]]
    assert third["label"] is True
    assert [(o["match"], o["right"]) for o in third["opinions"]] == [(True, True), (False, False)]
    assert third["opinions"][0]["probability"] > third["opinions"][1]["probability"]


def test_mistakes_are_sorted_by_confidence(make_comparison):
    comparison = make_comparison(["untrained", "flipped", "plain"], seeds=(0,), n=1000)
    found, count = mistakes(comparison, comparison.runs)
    surest = [max(abs(o["probability"] - row["label"]) for o in row["opinions"] if not o["right"]) for row in found]
    assert count > len(found) == MAX_EXAMPLES
    assert surest == sorted(surest, reverse=True)


def test_by_length_by_hand(two):
    texts = ["a" * n for n in (1, 1, 2, 2, 9, 9)]
    comparison = dataclasses.replace(two, text1=texts, text2=[""] * 6)
    quarters, rows = by_length(comparison)
    assert quarters == [
        {"from": 1, "to": 1, "pairs": 2, "positives": 1},
        {"from": 2, "to": 2, "pairs": 2, "positives": 1},
        {"from": 9, "to": 9, "pairs": 2, "positives": 1},
    ]
    assert [cell["accuracy"] for cell in rows[0]["cells"]] == [1, 0.5, 0.5]
    assert [cell["f1"] for cell in rows[0]["cells"]] == [1, pytest.approx(2 / 3), 0]
    assert [row["name"] for row in rows] == ["plain", "teacher"]


def test_by_length_without_positives_and_with_equal_lengths(two):
    comparison = dataclasses.replace(two, text1=["a", "bb"] * 3, text2=[""] * 6)  # the labels are 0, 1, 0, 1, ...
    quarters, rows = by_length(comparison)
    assert [quarter["positives"] for quarter in quarters] == [0, 3]
    assert rows[0]["cells"][0] == {"f1": None, "accuracy": pytest.approx(2 / 3)}
    assert len(by_length(dataclasses.replace(two, text1=["a"] * 6, text2=["b"] * 6))[0]) == 1


def test_by_length_quarters_and_seed_means(make_comparison):
    comparison = make_comparison(["plain"], seeds=(0, 1), n=400)
    quarters, (row,) = by_length(comparison)
    assert len(quarters) == 4
    assert sum(quarter["pairs"] for quarter in quarters) == 400
    weighted = sum(c["accuracy"] * q["pairs"] for c, q in zip(row["cells"], quarters, strict=True)) / 400
    assert weighted == pytest.approx(np.mean([(u.matches == comparison.label).mean() for u in comparison.runs]))
