"""Content of each section of the report as plain values for the template; None when its inputs are missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flipkd.evaluate.combine import SYMMETRIC
from flipkd.report import charts, curves, decisions, errors_by_pair, words
from flipkd.report.comparison import Comparison, RunScores, score_rows, summary_rows

Charts = dict[str, dict[str, Any]]  # element id of a chart -> its spec; each section adds its charts
MAIN_SYSTEMS = ("teacher_finetuned", "plain", "flipped")


def contents(comparison: Comparison) -> tuple[dict[str, Any], Charts]:
    """Return the values of the template, and the charts by name."""
    found: Charts = {}
    summary = summary_rows(comparison)
    differences = [difference_section(comparison, name, found) for name in comparison.differences]
    drawn = _first_runs(comparison)
    values = {
        "comparison": comparison,
        "compared": compared(comparison),
        "summary": summary,
        "scores": {name: rows for name in comparison.names if len(rows := score_rows(comparison, name)) > 1},
        "blends": any(run.system.kind == "blend" for run in comparison.runs),
        "symmetric": any(kind.endswith(SYMMETRIC) for run in comparison.runs for kind in run.test),
        "several_seeds": any(row["seeds"] > 1 for row in summary),
        "headline": headline(comparison, summary, differences),
        "single": len(comparison.names) == 1 and not comparison.runs[0].system.compared_with,
        "always_match": decisions.always_match_f1(int(comparison.label.sum()), len(comparison.label)),
        "decisions": decisions.decision_rows(comparison),
        "explorer": decisions.explorer(comparison, drawn),
        "losses": loss_section(drawn, found),
        "differences": [section for section in differences if section["rows"]],
        "curves": curve_section(comparison, drawn, found),
        "distributions": distribution_section(comparison, drawn, found),
        "agreement": agreement_section(comparison, found),
        "errors": error_section(comparison),
        "lengths": length_section(comparison, found),
        "versions": _versions(comparison),
    }
    return values, found


def compared(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row per name: its system and, for a variant, the changed settings."""
    rows = []
    for name in comparison.names:
        run = comparison.runs_of(name)[0]
        main = comparison.main_name(run.system.name)
        standard = comparison.runs_of(main)[0].result.get("overrides") or {} if main else {}
        own = run.result.get("overrides") or {}
        keys = {**standard, **own}
        changed = {
            key: own.get(key, "default")
            for key in keys
            if (key in own, own.get(key)) != (key in standard, standard.get(key))
        }
        rows.append(
            {
                "name": name,
                "system": run.system,
                "variant": name != run.system.name,
                "folders": [run.result["matcher"] for run in comparison.runs_of(name) if run.result.get("matcher")],
                "changed": words.shortened(json.dumps(changed, ensure_ascii=False)) if changed else "",
            }
        )
    return rows


def headline(
    comparison: Comparison, summary: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the summary: the flipped student against each reference, names ranked by F1, and costs."""
    name = comparison.main_name("flipped")
    verdicts = [
        row
        | {"against": section["against"], "reference": section["system"].in_a_sentence}
        | {"verdict": words.verdict({"F1": row["f1"], "AP": row["average_precision"]})}
        for section in differences
        for row in section["rows"]
        if row["name"] == name
    ]
    ranked = sorted(summary, key=lambda row: -float(row["f1"]["mean"]))
    # A blend has no training time, so only the time of its parts is shown.
    against = [section["against"] for section in differences if section["system"].kind != "blend"]
    shown = [name, *against] if name else []
    return {"verdicts": verdicts, "ranked": ranked, "costs": [row for row in summary if row["name"] in shown]}


def difference_section(comparison: Comparison, against: str, found: Charts) -> dict[str, Any]:
    """Return the differences of all names to one reference, as table rows and as a forest plot."""
    rows = comparison.differences[against]
    chart = f"forest-{len(found)}"
    if rows:
        found[chart] = charts.forest(rows, charts.systems_of(comparison, comparison.names))
    return {"against": against, "system": comparison.runs_of(against)[0].system, "rows": rows, "chart": chart}


def curve_section(comparison: Comparison, runs: Sequence[RunScores], found: Charts) -> dict[str, Any]:
    """Return precision-recall and reliability curves of one seed."""
    systems = charts.systems_of(comparison, [run.name for run in runs])
    curve, operating = curves.precision_recall(comparison, runs)
    base_rate = float(comparison.label.mean())
    found["precision-recall"] = charts.precision_recall(curve, operating, systems, base_rate=base_rate)
    trained = [run for run in runs if run.system.trained]
    rows = curves.reliability(comparison, trained)
    if rows:
        found["reliability"] = charts.reliability(rows, systems)
    return {
        "seeds": sorted({run.seed for run in runs}),
        "names": [run.name for run in runs],
        "reliability": [
            {
                "name": run.name,
                "colour": run.system.colour,
                "ece": run.result["by_score"][run.score]["test"].get("ece"),
            }
            for run in trained
            if rows
        ],
    }


def distribution_section(
    comparison: Comparison, runs: Sequence[RunScores], found: Charts
) -> list[dict[str, Any]] | None:
    """Return score distributions of matches and non-matches: untrained, plain and flipped, or all runs without these."""
    by_system = {run.system.name: run for run in runs}
    shown = [by_system[system] for system in ("untrained", "plain", "flipped") if system in by_system]
    if not runs[0].system.compared_with:
        shown = list(runs)
    for run in shown:
        found[f"distribution-{run.system.name}"] = charts.distribution(*curves.distribution(comparison, run))
    return [
        {
            "chart": f"distribution-{run.system.name}",
            "name": run.name,
            "score": run.score,
            "seed": run.seed,
            "roc_auc": run.result["by_score"][run.score]["test"]["roc_auc"],
        }
        for run in shown
    ] or None


def agreement_section(comparison: Comparison, found: Charts) -> dict[str, Any] | None:
    """Compare the flipped student's cosine with its teacher's score; None without both."""
    runs = _first_shared(comparison, ("teacher_finetuned", "flipped"))
    if len(runs) < 2 or "cosine" not in runs[1].test:
        return None
    teacher, student = runs
    if _teacher_settings(teacher) != _teacher_settings(student):
        return None  # the student has another teacher
    rows, rho = curves.agreement(comparison, student, teacher)
    found["agreement"] = charts.agreement(rows)
    return {"rho": rho, "points": len(rows), "seed": student.seed}


def _teacher_settings(run: RunScores) -> tuple[Any, dict[str, Any]]:
    identity = run.result.get("identity", {})
    own = {name: value for name, value in identity.get("own_files", {}).items() if name.startswith("teach.")}
    return identity.get("teach"), own


def error_section(comparison: Comparison) -> dict[str, Any]:
    """Return the errors of teacher, plain and flipped, or of the last system without these."""
    runs = _first_shared(comparison, MAIN_SYSTEMS) or _first_runs(comparison)[-1:]
    pairs, count = errors_by_pair.mistakes(comparison, runs)
    counts = errors_by_pair.who_is_right(comparison, runs)
    names = [run.name for run in runs]
    return {"names": names, "seed": runs[0].seed, "counts": counts, "pairs": pairs, "mistakes": count}


def loss_section(runs: Sequence[RunScores], found: Charts) -> list[dict[str, str]]:
    """Return the loss curves of the runs that have losses."""
    shown: list[dict[str, str]] = []
    for run in runs:
        if run.losses:
            chart = f"losses-{len(shown)}"
            found[chart] = charts.losses(run.losses)
            shown.append({"name": run.name, "chart": chart})
    return shown


def length_section(comparison: Comparison, found: Charts) -> dict[str, Any] | None:
    """Return F1 and accuracy in each quarter of the pairs by length; None for pairs of equal length."""
    quarters, rows = errors_by_pair.by_length(comparison)
    if len(quarters) < 2:
        return None
    labels = [f"{quarter['from']}–{quarter['to']}" for quarter in quarters]
    main = {comparison.main_name(run.system.name) for run in comparison.runs}
    drawn = [row for row in rows if row["name"] in main]
    found["lengths"] = charts.by_length(labels, drawn, charts.systems_of(comparison, [row["name"] for row in drawn]))
    return {
        "quarters": [
            quarter
            | {"label": label, "always_match": decisions.always_match_f1(quarter["positives"], quarter["pairs"])}
            for quarter, label in zip(quarters, labels, strict=True)
        ],
        "rows": rows,
        "drawn": [row["name"] for row in drawn],
    }


def _first_runs(comparison: Comparison) -> list[RunScores]:
    """Return the first seed of each system, by its main name."""
    systems = dict.fromkeys(run.system.name for run in comparison.runs)
    names = [name for name in map(comparison.main_name, systems) if name is not None]
    return [comparison.runs_of(name)[0] for name in names]


def _first_shared(comparison: Comparison, systems: Sequence[str]) -> Sequence[RunScores]:
    """Return the runs of the present systems in their first shared seed."""
    names = [name for name in map(comparison.main_name, systems) if name is not None]
    shared = comparison.shared(names)
    return shared[0] if shared else ()


def _versions(comparison: Comparison) -> dict[str, str]:
    """Return package -> version, or all its versions when the runs differ."""
    found: dict[str, set[str]] = {}
    for run in comparison.runs:
        for package, version in (run.result.get("versions") or {}).items():
            found.setdefault(package, set()).add(str(version))
    return {package: ", ".join(sorted(versions)) for package, versions in found.items()}
