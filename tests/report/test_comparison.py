"""Statistics of a comparison: by hand, plausible bootstrap results, rejected input."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from flipkd.comparison.systems import SYSTEMS
from flipkd.errors import ConfigError, DataError
from flipkd.evaluate import holm
from flipkd.report.comparison import (
    Comparison,
    RunScores,
    paired_differences,
    references,
    score_rows,
    spread,
    summary_rows,
)


def run(seed, f1, *, name="plain", scores=(1.0, 0.0), chosen="answer", **result):
    """A run of two test pairs whose metrics are given, not measured."""
    metrics = {"f1": f1, "average_precision": 0.5, "accuracy": 0.25, "roc_auc": 0.75, "threshold": 0.5}
    by_score = {kind: {"validation": metrics, "test": metrics} for kind in ("answer", "cosine")}
    values = {kind: np.array(scores) for kind in ("answer", "cosine")}
    result = {"score": chosen, "by_score": by_score} | result
    return RunScores(name=name, system=SYSTEMS["plain"], seed=seed, result=result, validation=values, test=values)


def two_pairs(*runs):
    label = np.array([1, 0])
    return Comparison(
        data="d",
        runs=runs,
        text1=["a", "b"],
        text2=["c", "d"],
        label=label,
        validation_label=label,
        counts={},
        command="",
    )


def test_summary_rows_by_hand():
    runs = [
        run(0, 0.70, seconds=10, peak_memory_bytes=5, cost={"train_pairs_per_second": 4.0}),
        run(1, 0.72, seconds=20, peak_memory_bytes=9, cost={"train_pairs_per_second": 2.0}, chosen="cosine"),
        run(2, 0.74),
    ]
    (row,) = summary_rows(two_pairs(*runs))
    half = 4.302653 * 0.02 / 3**0.5  # t table: 97.5 %, 2 degrees of freedom
    by_hand = {"mean": 0.72, "sd": 0.02, "half": half, "low": 0.72 - half, "high": 0.72 + half}
    assert row.pop("f1") == pytest.approx(by_hand)
    assert row.pop("roc_auc") == pytest.approx({"mean": 0.75, "sd": 0, "half": 0, "low": 0.75, "high": 0.75})
    assert {key: row.pop(key)["mean"] for key in ("average_precision", "accuracy")} == {
        "average_precision": 0.5,
        "accuracy": 0.25,
    }
    assert row == {
        "name": "plain",
        "system": "plain",
        "seeds": 3,
        "scores": ["answer", "cosine"],
        "seconds": 15,
        "peak_memory_bytes": 9,
        "train_pairs_per_second": 3,
        "score_pairs_per_second": None,
    }


def test_spread_clips_the_interval_to_0_and_1():
    assert spread([0.5, 0.9]) | {"low": 0, "high": 1} == spread([0.5, 0.9])
    assert spread([0.5, 0.9])["half"] == pytest.approx(12.7062 * 0.2, abs=1e-3)


def test_summary_rows_of_one_seed_have_no_spread():
    rows = summary_rows(two_pairs(run(0, 0.7, name="z"), run(0, 0.8, name="a")))
    assert [(row["name"], row["f1"]) for row in rows] == [("z", {"mean": 0.7}), ("a", {"mean": 0.8})]


def test_score_rows_count_the_chosen_seeds():
    comparison = two_pairs(run(0, 0.7), run(1, 0.8, chosen="cosine"), run(2, 0.9))
    rows = score_rows(comparison, "plain")
    assert [(row["score"], row["chosen"], row["seeds"]) for row in rows] == [("answer", 2, 3), ("cosine", 1, 3)]
    assert rows[0]["f1"]["mean"] == pytest.approx(0.8)


def test_summary_rows_and_differences_are_json(make_comparison):
    comparison = make_comparison()
    rows = [summary_rows(comparison), paired_differences(comparison, against="plain")]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_paired_differences_are_those_of_the_seed_means(make_comparison):
    comparison = make_comparison(["plain", "flipped"], seeds=(0, 1, 2))
    (row,) = paired_differences(comparison, against="plain")
    means = {
        name: np.mean([f1_score(comparison.label, u.test[u.score] >= u.threshold) for u in comparison.runs_of(name)])
        for name in comparison.names
    }
    assert row["f1"]["difference"] == pytest.approx(means["flipped"] - means["plain"])
    assert (row["name"], row["against"], row["seeds"]) == ("flipped", "plain", [0, 1, 2])
    assert row["average_precision"]["resamples"] == 2000
    f1 = [[u.result["by_score"][u.score]["test"]["f1"] for u in comparison.runs_of(n)] for n in ("flipped", "plain")]
    assert row["ahead"] == sum(a > b for a, b in zip(*f1, strict=True))


def test_paired_differences_of_a_better_and_an_identical_system(make_comparison):
    comparison = make_comparison(["untrained", "flipped"], n=100)
    twins = [dataclasses.replace(u, name="twin") for u in comparison.runs_of("flipped")]
    comparison = dataclasses.replace(comparison, runs=[*comparison.runs, *twins])
    worse, same = paired_differences(comparison, against="flipped")
    better = paired_differences(comparison, against="untrained")[0]
    for metric in ("f1", "average_precision"):
        assert better[metric]["p_value"] < 0.05
        assert better[metric]["low"] > 0
        assert worse[metric]["difference"] == pytest.approx(-better[metric]["difference"])
        assert worse[metric]["low"] == pytest.approx(-better[metric]["high"])
        assert worse[metric]["p_value"] == better[metric]["p_value"]
        assert (same[metric]["difference"], same[metric]["p_value"]) == (0, 1)
    assert (better["ahead"], worse["ahead"], same["ahead"]) == (2, 0, 0)


def test_paired_differences_correct_p_values_per_reference(make_comparison):
    names = ["plain", "tfidf", "teacher", "flipped", "always_match"]
    rows = paired_differences(make_comparison(names, n=100), against="plain")
    for metric in ("f1", "average_precision"):
        found = [(row[metric]["p_value"], row[metric]["p_adjusted"]) for row in rows]
        assert [adjusted for _, adjusted in found] == pytest.approx(holm([value for value, _ in found]).tolist())
        assert max(adjusted - value for value, adjusted in found) > 0
    (alone,) = paired_differences(make_comparison(names[:2]), against="plain")
    assert alone["f1"]["p_adjusted"] == alone["f1"]["p_value"]


def test_paired_differences_use_shared_seeds_only(make_comparison):
    comparison = make_comparison(["plain", "flipped"], seeds=(0, 1))
    runs = [u for u in comparison.runs if (u.name, u.seed) != ("flipped", 0)]
    (row,) = paired_differences(dataclasses.replace(comparison, runs=runs), against="plain")
    assert row["seeds"] == [1]
    runs = [u for u in runs if (u.name, u.seed) != ("plain", 1)]
    assert paired_differences(dataclasses.replace(comparison, runs=runs), against="plain") == []


def test_references_of_a_comparison(make_comparison):
    assert references(make_comparison()) == ["plain", "teacher_finetuned"]
    assert references(make_comparison(["tfidf", "untrained"])) == []
    blend = "plain+teacher_finetuned"
    assert references(make_comparison(["tfidf", blend, "plain"])) == ["plain", blend]
    assert references(make_comparison([("minus_mcl", "plain"), "flipped"])) == ["minus_mcl"]


def test_main_name_is_the_system_or_its_first_variant(make_comparison):
    comparison = make_comparison([("minus_mcl", "flipped"), "flipped", ("b", "plain"), ("a", "plain")])
    assert comparison.main_name("flipped") == "flipped"
    assert comparison.main_name("plain") == "b"
    assert comparison.main_name("tfidf") is None


def test_comparison_rejects_inconsistent_runs(make_comparison):
    comparison = make_comparison(["plain"], seeds=(0,))
    with pytest.raises(ConfigError, match="no run is called 'plane'; did you mean 'plain'"):
        paired_differences(comparison, against="plane")
    with pytest.raises(DataError, match="at least one run"):
        dataclasses.replace(comparison, runs=[])
    with pytest.raises(DataError, match="run 'plain', seed 0: duplicate"):
        dataclasses.replace(comparison, runs=[*comparison.runs, *comparison.runs])
    with pytest.raises(DataError, match="59 and 60 texts for 60 test labels"):
        dataclasses.replace(comparison, text1=comparison.text1[1:])
    with pytest.raises(DataError, match=r"validation score 'score' has the shape \(60,\), not \(59,\)"):
        dataclasses.replace(comparison, validation_label=comparison.validation_label[1:])
    with pytest.raises(DataError, match=r"test score 'score' has the shape \(\), not \(60,\)"):
        dataclasses.replace(comparison, runs=[dataclasses.replace(comparison.runs[0], test={})])
