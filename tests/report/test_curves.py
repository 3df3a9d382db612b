"""Chart data against scikit-learn and counts by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import precision_score, recall_score

from flipkd.report import curves


def test_precision_recall_curve_and_operating_point(make_comparison):
    comparison = make_comparison(["plain", "flipped"], n=600)
    run = comparison.runs[0]
    curve, (point,) = curves.precision_recall(comparison, [run])
    assert 2 < len(curve) <= curves.MAX_POINTS
    recalls = [row["recall"] for row in curve]
    assert recalls == sorted(recalls)
    assert (recalls[-1], {row["name"] for row in curve}) == (1, {"plain"})
    assert curve[-1]["precision"] == pytest.approx(comparison.label.mean(), abs=0.1)
    assert point["precision"] == pytest.approx(precision_score(comparison.label, run.matches), abs=1e-4)
    assert point["recall"] == pytest.approx(recall_score(comparison.label, run.matches), abs=1e-4)


def test_reliability_counts_every_pair_outside_small_bins_once(make_comparison, monkeypatch):
    comparison = make_comparison(["plain"], seeds=(0,), n=300)
    run = comparison.runs[0]
    monkeypatch.setattr(curves, "MIN_BIN_PAIRS", 1)
    rows = curves.reliability(comparison, [run])
    assert sum(row["pairs"] for row in rows) == 300
    matches = sum(row["pairs"] * row["observed"] for row in rows)
    assert matches == pytest.approx(comparison.label.sum(), rel=1e-3)
    probability = curves.probabilities(comparison, run)
    inside = (probability >= 0.2) & (probability < 0.3)
    (row,) = [row for row in rows if 0.2 <= row["predicted"] < 0.3]
    assert row["predicted"] == pytest.approx(probability[inside].mean(), abs=1e-4)
    monkeypatch.setattr(curves, "MIN_BIN_PAIRS", 25)
    assert 0 < len(curves.reliability(comparison, [run])) < len(rows)


def test_distribution_shares_and_threshold(make_comparison):
    comparison = make_comparison(["plain"], seeds=(0,))
    run = comparison.runs[0]
    rows, threshold = curves.distribution(comparison, run)
    for name in curves.CLASSES:
        assert sum(row["share"] for row in rows if row["class"] == name) == pytest.approx(1, abs=1e-3)
    score = run.test["score"]
    assert threshold == pytest.approx((run.threshold - score.mean()) / score.std(), abs=1e-4)
    right = sum(row["share"] for row in rows if row["class"] == "match" and row["start"] >= 0)
    assert right == pytest.approx((score[comparison.label == 1] >= score.mean()).mean(), abs=1e-3)


def test_distribution_of_constant_scores_is_centred(make_comparison):
    comparison = make_comparison(["plain"], seeds=(0,))
    run = dataclasses.replace(comparison.runs[0], test={"score": np.full(60, 3.0)})
    rows, _ = curves.distribution(comparison, run)
    assert {row["start"] for row in rows if row["share"]} == {0}


def test_agreement_is_a_sample_with_the_correlation_of_all(make_comparison):
    comparison = make_comparison(["teacher_finetuned", "flipped"], seeds=(0,), n=1200)
    teacher, student = comparison.runs
    rows, rho = curves.agreement(comparison, student, teacher)
    assert len(rows) == curves.MAX_SCATTER
    assert rho == pytest.approx(spearmanr(teacher.test["score"], student.test["cosine"]).statistic)
    known = {
        (float(f"{x:.5g}"), float(f"{y:.5g}"))
        for x, y in zip(teacher.test["score"], student.test["cosine"], strict=True)
    }
    assert {(row["teacher"], row["student"]) for row in rows} <= known
    assert curves.agreement(comparison, student, teacher)[0] == rows
    flat = dataclasses.replace(teacher, test={"score": np.zeros(1200)})
    assert curves.agreement(comparison, student, flat)[1] is None
