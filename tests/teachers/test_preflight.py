"""preflight: metrics of teacher and student, and each warning."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flipkd.errors import DataError, NumbersError
from flipkd.evaluate.metrics import measure
from flipkd.teachers.preflight import preflight

N = 400
LABEL = np.random.default_rng(0).integers(0, 2, N)
NOISE = np.random.default_rng(1).normal(size=N)
GOOD, GUESS = LABEL * 2 + NOISE, np.random.default_rng(2).normal(size=N)
WRONG_AT_THE_TOP = np.where((LABEL == 0) & (np.cumsum(LABEL == 0) <= 60), 9, GOOD)  # its AUC is 0.64


def warned(**changes) -> str:
    settings = {"teacher_scores": GOOD, "student_scores": GUESS, "labels": LABEL, **changes}
    return " | ".join(preflight(**settings)["warnings"])


def test_preflight_of_a_good_teacher_has_no_warning():
    report = preflight(teacher_scores=GOOD, student_scores=GUESS, labels=LABEL)
    assert report["warnings"] == []
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["n"], report["positive_share"]) == (N, LABEL.mean())
    expected = measure(GOOD, LABEL)
    assert {key: report["teacher"][key] for key in ("f1", "average_precision", "roc_auc")} == {
        key: expected[key] for key in ("f1", "average_precision", "roc_auc")
    }
    assert report["teacher"]["min"] == GOOD.min()
    assert report["teacher"]["max"] == GOOD.max()
    assert report["teacher"]["std"] == pytest.approx(GOOD.std())
    assert 2 / N <= report["teacher"]["saturated"] < 0.02
    assert abs(report["agreement"]) < 0.2
    assert preflight(teacher_scores=GOOD, student_scores=GOOD**3, labels=LABEL)["agreement"] == pytest.approx(1)


def test_preflight_ignores_unlabelled_pairs():
    labels = [None if i % 2 else int(label) for i, label in enumerate(LABEL)]
    report = preflight(teacher_scores=GOOD, student_scores=GUESS, labels=labels)
    assert report["n"] == N // 2
    assert report["teacher"]["roc_auc"] == measure(GOOD[::2], LABEL[::2])["roc_auc"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher_scores": GUESS, "student_scores": NOISE}, "hardly better than chance: AUC"),
        ({"teacher_scores": GUESS, "student_scores": NOISE}, "0.5; average precision "),
        ({"teacher_scores": WRONG_AT_THE_TOP}, "hardly better than chance: average precision 0.568"),
        ({"teacher_scores": -GOOD}, "in reverse order"),
        ({"teacher_scores": np.full(N, 0.5)}, "it gives every pair the score 0.5"),
        ({"student_scores": LABEL * 3 + NOISE}, "not better than the student before training"),
        ({"teacher_scores": np.clip(GOOD, 0.9, 1.1)}, "are at an end of their range"),
        ({"labels": np.ones(N, dtype=int)}, "only one class"),
        ({"labels": [None] * N}, "0 labelled validation pairs have only one class"),
        ({"labels": [int(label) if i < 60 else None for i, label in enumerate(LABEL)]}, "too few labelled"),
        ({"labels": np.arange(N) < 10}, "too few labelled validation pairs: 10 positive, 390 negative"),
    ],
)
def test_preflight_warnings(changes, message):
    assert message in warned(**changes)


def test_preflight_undefined_metrics_are_none():
    report = preflight(teacher_scores=GOOD, student_scores=np.zeros(N), labels=np.zeros(N, dtype=int))
    assert report["teacher"]["f1"] is report["student"]["roc_auc"] is report["agreement"] is None
    empty = preflight(teacher_scores=[], student_scores=[], labels=[])
    assert empty["positive_share"] is empty["teacher"]["std"] is None
    assert len(empty["warnings"]) == 1


def test_preflight_needs_two_pairs_of_each_class():
    one = np.zeros(N, dtype=int)
    one[3] = 1
    report = preflight(teacher_scores=GOOD, student_scores=np.arange(N), labels=one)
    assert report["teacher"]["roc_auc"] is report["student"]["average_precision"] is None
    assert report["agreement"] is not None
    assert [warning[:42] for warning in report["warnings"]] == ["too few labelled validation pairs: 1 posit"]


def test_preflight_refuses_other_shapes_and_infinite_scores():
    with pytest.raises(DataError, match=r"student scores have shape \(3,\), labels \(400,\)"):
        warned(student_scores=GUESS[:3])
    with pytest.raises(NumbersError, match="teacher scores: 1 of 400 are not finite, the first at index 7"):
        warned(teacher_scores=np.where(np.arange(N) == 7, np.nan, GOOD))
