"""What each section of the page shows, as plain values for the template; None where its inputs are absent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flipkd.evaluate.combine import PLUS, SYMMETRIC
from flipkd.report import charts, curves, errors_by_pair, words
from flipkd.report.comparison import Comparison, UnitScores, score_rows, summary_rows

Charts = dict[str, dict[str, Any]]  # name of a place on the page -> its spec; filled as the sections are made
JUDGES = ("teacher_finetuned", "plain", "flipped")


def contents(comparison: Comparison) -> tuple[dict[str, Any], Charts]:
    """All that the template needs, and the charts by name."""
    found: Charts = {}
    summary = summary_rows(comparison)
    differences = [difference_section(comparison, name, found) for name in comparison.differences]
    drawn = _first_units(comparison)
    values = {
        "comparison": comparison,
        "compared": compared(comparison),
        "summary": summary,
        "scores": {name: rows for name in comparison.names if len(rows := score_rows(comparison, name)) > 1},
        "blends": any(PLUS in unit.system for unit in comparison.units),
        "symmetric": any(kind.endswith(SYMMETRIC) for unit in comparison.units for kind in unit.test),
        "several_seeds": any(row["seeds"] > 1 for row in summary),
        "headline": headline(comparison, summary, differences),
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
    """One line per name: its system in plain words and, for a variant, the settings that differ."""
    rows = []
    for name in comparison.names:
        unit = comparison.units_of(name)[0]
        main = comparison.main_name(unit.system)
        standard = comparison.units_of(main)[0].result.get("overrides") or {} if main else {}
        own = unit.result.get("overrides") or {}
        keys = {**standard, **own}
        changed = {
            key: own.get(key, "default")
            for key in keys
            if (key in own, own.get(key)) != (key in standard, standard.get(key))
        }
        rows.append(
            {
                "name": name,
                "system": unit.system,
                "words": words.WHAT_IT_IS.get(unit.system, words.A_BLEND if PLUS in unit.system else ""),
                "variant": name != unit.system,
                "changed": words.shortened(json.dumps(changed, ensure_ascii=False)) if changed else "",
                "colour": charts.colour(unit.system),
                "dashed": unit.system in charts.UNTRAINED,
            }
        )
    return rows


def headline(
    comparison: Comparison, summary: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The answer in sentences: verdicts on the flipped student, the best F1, what it cost."""
    name = comparison.main_name("flipped")
    verdicts = []
    for section in differences:
        for row in section["rows"]:
            if row["name"] == name:
                reference = words.IN_A_SENTENCE[section["system"]]
                sentence = words.verdict(row["f1"], of="the flipped student", reference=reference)
                order = words.ranking(row["average_precision"])
                verdicts.append(
                    {"sentence": sentence, "order": order, "ahead": row["ahead"], "seeds": len(row["seeds"])}
                )
    ranked = sorted(summary, key=lambda row: -float(row["f1"]["mean"]))
    # A blend's own time is none; its parts are told of.
    against = [section["against"] for section in differences if PLUS not in section["against"]]
    told = [name, *against] if name else []
    return {"verdicts": verdicts, "ranked": ranked, "costs": [row for row in summary if row["name"] in told]}


def difference_section(comparison: Comparison, against: str, found: Charts) -> dict[str, Any]:
    """All names against one reference, as a table and as a forest plot."""
    rows = comparison.differences[against]
    place = f"forest-{len(found)}"
    if rows:
        found[place] = charts.forest(rows, charts.systems_of(comparison, comparison.names))
    return {"against": against, "system": comparison.units_of(against)[0].system, "rows": rows, "chart": place}


def curve_section(comparison: Comparison, units: Sequence[UnitScores], found: Charts) -> dict[str, Any]:
    """Precision-recall and reliability curves of one seed."""
    systems = charts.systems_of(comparison, [unit.name for unit in units])
    curve, operating = curves.precision_recall(comparison, units)
    base_rate = float(comparison.label.mean())
    found["precision-recall"] = charts.precision_recall(curve, operating, systems, base_rate=base_rate)
    trained = [unit for unit in units if unit.system not in charts.UNTRAINED]
    rows = curves.reliability(comparison, trained)
    if rows:
        found["reliability"] = charts.reliability(rows, systems)
    return {
        "seeds": sorted({unit.seed for unit in units}),
        "names": [unit.name for unit in units],
        "reliability": [
            {
                "name": unit.name,
                "colour": charts.colour(unit.system),
                "ece": unit.result["by_score"][unit.score]["test"].get("ece"),
            }
            for unit in trained
            if rows
        ],
    }


def distribution_section(
    comparison: Comparison, units: Sequence[UnitScores], found: Charts
) -> list[dict[str, Any]] | None:
    """Scores of matches and of non-matches before, with plain and with flipped training."""
    by_system = {unit.system: unit for unit in units}
    shown = [by_system[system] for system in ("untrained", "plain", "flipped") if system in by_system]
    for unit in shown:
        found[f"distribution-{unit.system}"] = charts.distribution(*curves.distribution(comparison, unit))
    return [
        {
            "chart": f"distribution-{unit.system}",
            "name": unit.name,
            "score": unit.score,
            "seed": unit.seed,
            "roc_auc": unit.result["by_score"][unit.score]["test"]["roc_auc"],
        }
        for unit in shown
    ] or None


def agreement_section(comparison: Comparison, found: Charts) -> dict[str, Any] | None:
    """The flipped student's cosine against its teacher's score."""
    units = _first_shared(comparison, ("teacher_finetuned", "flipped"))
    if len(units) < 2 or "cosine" not in units[1].test:
        return None
    teacher, student = units
    if _teacher_settings(teacher) != _teacher_settings(student):
        return None  # it learnt from another one
    rows, rho = curves.agreement(comparison, student, teacher)
    found["agreement"] = charts.agreement(rows)
    return {"rho": rho, "points": len(rows), "seed": student.seed}


def _teacher_settings(unit: UnitScores) -> tuple[Any, dict[str, Any]]:
    identity = unit.result.get("identity", {})
    own = {name: value for name, value in identity.get("own_files", {}).items() if name.startswith("teach.")}
    return identity.get("teach"), own


def error_section(comparison: Comparison) -> dict[str, Any] | None:
    """Who is right where teacher, plain and flipped disagree."""
    units = _first_shared(comparison, JUDGES)
    if len(units) < 2:
        return None
    examples = errors_by_pair.disagreements(comparison, units)
    return {
        "names": [unit.name for unit in units],
        "seed": units[0].seed,
        "counts": errors_by_pair.who_is_right(comparison, units),
        "examples": examples,
    }


def length_section(comparison: Comparison, found: Charts) -> dict[str, Any] | None:
    """F1 and accuracy in each quarter of the pairs by length."""
    quarters, rows = errors_by_pair.by_length(comparison)
    if len(quarters) < 2:
        return None
    labels = [f"{quarter['from']}–{quarter['to']}" for quarter in quarters]
    main = {comparison.main_name(unit.system) for unit in comparison.units}
    drawn = [row for row in rows if row["name"] in main]
    found["lengths"] = charts.by_length(labels, drawn, charts.systems_of(comparison, [row["name"] for row in drawn]))
    return {
        "quarters": [quarter | {"label": label} for quarter, label in zip(quarters, labels, strict=True)],
        "rows": rows,
        "drawn": [row["name"] for row in drawn],
    }


def _first_units(comparison: Comparison) -> list[UnitScores]:
    """The first seed of each system, by its main name."""
    systems = dict.fromkeys(unit.system for unit in comparison.units)
    names = [name for name in map(comparison.main_name, systems) if name is not None]
    return [comparison.units_of(name)[0] for name in names]


def _first_shared(comparison: Comparison, systems: Sequence[str]) -> Sequence[UnitScores]:
    """The units of the systems that are there, in the first seed that they share."""
    names = [name for name in map(comparison.main_name, systems) if name is not None]
    shared = comparison.shared(names)
    return shared[0] if shared else ()


def _versions(comparison: Comparison) -> dict[str, str]:
    """Package -> version, or all versions when the units were made with several."""
    found: dict[str, set[str]] = {}
    for unit in comparison.units:
        for package, version in (unit.result.get("versions") or {}).items():
            found.setdefault(package, set()).add(str(version))
    return {package: ", ".join(sorted(versions)) for package, versions in found.items()}
