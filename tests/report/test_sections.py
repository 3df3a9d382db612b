"""Sections of the report: presence and content by comparison."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("altair")

from flipkd.report import words
from flipkd.report.sections import compared, contents

OPTIONAL = ("differences", "distributions", "agreement", "lengths")


def present(comparison):
    values, _ = contents(comparison)
    return {name for name in OPTIONAL if values[name]}


def test_contents_of_a_full_comparison(make_comparison):
    values, found = contents(make_comparison(n=120))
    assert {name for name in OPTIONAL if values[name]} == set(OPTIONAL)
    assert list(found) == [
        "forest-0",
        "forest-1",
        "precision-recall",
        "reliability",
        "distribution-untrained",
        "distribution-plain",
        "distribution-flipped",
        "agreement",
        "lengths",
    ]


@pytest.mark.parametrize(
    "systems, expected",
    [
        (["tfidf"], {"lengths"}),
        (["plain"], {"lengths", "distributions"}),
        (["tfidf", "plain"], {"lengths", "distributions", "differences"}),
        (["tfidf", "teacher_finetuned"], {"lengths", "differences"}),
        (["plain", "flipped"], {"lengths", "distributions", "differences"}),
        (["teacher_finetuned", ("a", "flipped")], set(OPTIONAL)),
    ],
)
def test_contents_omits_sections_without_their_systems(make_comparison, systems, expected):
    assert present(make_comparison(systems, seeds=(0,))) == expected


@pytest.mark.slow
def test_agreement_section_needs_a_cosine_and_a_shared_seed(make_comparison):
    comparison = make_comparison(["teacher_finetuned", "flipped"], seeds=(0, 1))
    runs = [u for u in comparison.runs if (u.system.name, u.seed) in [("flipped", 0), ("teacher_finetuned", 1)]]
    assert not {"agreement", "differences"} & present(dataclasses.replace(comparison, runs=runs))
    runs = [dataclasses.replace(u, test={u.score: u.test[u.score]}) for u in comparison.runs]
    assert "agreement" in present(dataclasses.replace(comparison, runs=runs))
    answer = [
        dataclasses.replace(u, test={"answer": u.test["answer"]}, result={**u.result, "score": "answer"})
        if u.system.name == "flipped"
        else u
        for u in comparison.runs
    ]
    assert "agreement" not in present(dataclasses.replace(comparison, runs=answer))


def test_error_section_uses_a_shared_seed(make_comparison):
    names = contents(make_comparison(["tfidf", "plain", "flipped"]))[0]["errors"]["names"]
    assert names == ["plain", "flipped"]
    values = contents(make_comparison(["tfidf"]))[0]["errors"]
    assert (values["names"], values["counts"]) == (["tfidf"], [])


def test_loss_section_draws_one_chart_per_run(make_comparison):
    comparison = make_comparison(["tfidf", "plain", "flipped"], seeds=(0,))
    rows = [{"step": step, "objective": "answer_cross_entropy", "value": 1 / step} for step in (1, 2)]
    runs = [dataclasses.replace(run, losses=rows if run.name != "tfidf" else ()) for run in comparison.runs]
    values, found = contents(dataclasses.replace(comparison, runs=runs))
    assert values["losses"] == [
        {"name": "plain", "chart": "losses-0"},
        {"name": "flipped", "chart": "losses-1"},
    ]
    assert {"losses-0", "losses-1"} <= set(found)


def test_length_section_is_none_for_equal_lengths(make_comparison):
    comparison = make_comparison(["plain"], text1=["a"] * 60, text2=["b"] * 60)
    assert "lengths" not in present(comparison)


def test_headline_is_about_the_flipped_student(make_comparison):
    headline = contents(make_comparison(["tfidf", "teacher_finetuned", "plain", "flipped"], n=100))[0]["headline"]
    against = {row["against"]: row for row in headline["verdicts"]}
    assert list(against) == ["plain", "teacher_finetuned"]
    assert all(row["name"] == "flipped" and len(row["seeds"]) == 2 for row in against.values())
    assert against["plain"]["reference"].startswith("the same language model")
    assert against["plain"]["verdict"] == words.verdict(
        {"F1": against["plain"]["f1"], "AP": against["plain"]["average_precision"]}
    )
    assert [row["name"] for row in headline["costs"]] == ["teacher_finetuned", "plain", "flipped"]
    means = [row["f1"]["mean"] for row in headline["ranked"]]
    assert means == sorted(means, reverse=True)
    headline = contents(make_comparison(["tfidf", "plain"]))[0]["headline"]
    assert (headline["verdicts"], headline["costs"]) == ([], [])


def test_compared_lists_the_settings_of_a_variant(make_comparison):
    comparison = make_comparison(["flipped", ("no_filter", "flipped")], seeds=(0,))
    main, variant = comparison.runs
    main = dataclasses.replace(main, result={**main.result, "overrides": {"reading": "joint", "seed": 1}})
    variant = dataclasses.replace(
        variant, result={**variant.result, "overrides": {"filter": None, "reading": "joint"}}
    )
    rows = compared(dataclasses.replace(comparison, runs=[main, variant]))
    assert [row["changed"] for row in rows] == ["", '{"seed": "default", "filter": null}']
    variant = dataclasses.replace(variant, result={**variant.result, "overrides": {"reading": "a" * 500}})
    rows = compared(dataclasses.replace(comparison, runs=[main, variant]))
    assert len(rows[1]["changed"]) == 200


def test_contents_lists_versions_of_all_runs(make_comparison):
    comparison = make_comparison(["plain"], seeds=(0, 1))
    first, second = comparison.runs
    second = dataclasses.replace(second, result={**second.result, "versions": {"torch": "2.14", "peft": "0.2"}})
    versions = contents(dataclasses.replace(comparison, runs=[first, second]))[0]["versions"]
    assert versions == {"torch": "2.13, 2.14", "peft": "0.2"}


def test_contents_with_blends_and_a_constant_score(make_comparison):
    blend = "plain+teacher_finetuned"
    values, _ = contents(make_comparison(["always_match", "plain", "flipped", blend], n=100))
    rows = {row["name"]: row for row in values["compared"]}
    assert (rows[blend]["variant"], rows[blend]["system"].kind) == (False, "blend")
    assert [section["against"] for section in values["differences"]] == ["plain", blend]
    assert "the scores of plain LoRA and of the fine-tuned teacher" in values["headline"]["verdicts"][1]["reference"]
    assert not values["symmetric"]
    assert (values["blends"], [row["name"] for row in values["headline"]["costs"]]) == (True, ["plain", "flipped"])


def test_contents_flags_symmetric_scores(make_comparison):
    comparison = make_comparison(["plain"], seeds=(0,))
    (run,) = comparison.runs
    both = dataclasses.replace(run, test={**run.test, "answer_symmetric": run.test["score"]})
    assert contents(dataclasses.replace(comparison, runs=[both]))[0]["symmetric"]
