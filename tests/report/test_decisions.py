"""Precision, recall and counts at all thresholds: by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flipkd.report.decisions import MAX_STEPS, always_match_f1, decision_rows, explorer


@pytest.fixture
def plain(make_comparison):
    """plain on six pairs with the labels 0 1 0 1 0 1 and the scores 1 to 6; its threshold is 3."""
    comparison = make_comparison(["plain"], seeds=(0,), n=6)
    (run,) = comparison.runs
    result = {"score": "score", "by_score": {"score": {"validation": {"threshold": 3.0}, "test": {}}}}
    run = dataclasses.replace(run, test={"score": np.arange(1.0, 7.0)}, result=result)
    return dataclasses.replace(comparison, runs=[run])


def test_always_match_f1_by_hand():
    assert always_match_f1(3, 4) == pytest.approx(2 * 3 / (4 + 3))
    assert always_match_f1(0, 2) is None


def test_decision_rows_by_hand(plain):
    (row,) = decision_rows(plain)
    counts = {"found": 2, "missed": 1, "false_alarms": 2, "rejected": 1}
    assert row == {"name": "plain", "precision": {"mean": 0.5}, "recall": {"mean": pytest.approx(2 / 3)}} | counts


def test_decision_rows_are_means_over_the_seeds(make_comparison):
    (row,) = decision_rows(make_comparison(["plain"], seeds=(0, 1), n=60))
    assert sum(row[name] for name in ("found", "missed", "false_alarms", "rejected")) == 60
    assert 0 <= row["precision"]["low"] <= row["precision"]["mean"] <= row["precision"]["high"] <= 1


def test_explorer_counts_pairs_at_each_threshold(plain):
    found = explorer(plain, plain.runs)
    (system,) = found["systems"]
    assert (found["pairs"], found["matches"]) == (6, 3)
    assert system["cuts"] == [1, 2, 3, 4, 5, 6, 6]
    assert system["called"] == [6, 5, 4, 3, 2, 1, 0]
    assert system["hits"] == [3, 3, 2, 2, 1, 1, 0]
    assert system["own"] == system["review"] == 2


def test_explorer_shows_the_flipped_student_first(make_comparison):
    for names, shown in ((["plain", "flipped", "tfidf"], 1), (["plain", "tfidf"], 1)):
        comparison = make_comparison(names, seeds=(0,))
        assert explorer(comparison, comparison.runs)["shown"] == shown


def test_explorer_has_the_review_threshold_and_bounded_steps(make_comparison):
    comparison = make_comparison(["plain"], seeds=(0,), n=2000)
    (run,) = comparison.runs
    by_score = {"score": {**run.result["by_score"]["score"], "validation": {"threshold": 0.5, "review_threshold": -9}}}
    run = dataclasses.replace(run, result={**run.result, "by_score": by_score})
    (system,) = explorer(comparison, [run])["systems"]
    assert len(system["cuts"]) <= MAX_STEPS + 3
    assert (system["review"], system["cuts"][0], system["cuts"][system["own"]]) == (0, -9, 0.5)
