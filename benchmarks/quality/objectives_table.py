"""The table of what the field's objectives and procedures add to flipped, for `tables.py`; recipes/objectives/ has the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flipkd.commands.results import text_table

RECIPES = Path(__file__).parents[2] / "recipes" / "objectives"
KINDS = ("answer", "cosine", "combined", "with_teacher")
CONTROLS = ("plain", "no_teacher", "teacher_finetuned", "plain+teacher_finetuned")


def objectives_table(results: list[dict[str, Any]]) -> str:
    """AP on test, a table per recipe that has results: the best without a teacher beside it first."""
    return "\n".join(_table(results, path) for path in sorted(RECIPES.glob("*.yaml"))).strip("\n") + "\n"


def _table(results: list[dict[str, Any]], path: Path) -> str:
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {(r["name"], r["seed"]): r for r in results if r["data"] == recipe["data"]}
    names = [name for name in recipe["systems"] if any(name == known for known, _ in found)]
    if not names:
        return ""
    rows = sorted((_row(found, name, recipe["variants"].get(name)) for name in names), key=lambda row: -row[0])
    header = ["AP on test", "differs from flipped by", "seeds", *KINDS, "combined minus flipped's"]
    commands = "\n".join(dict.fromkeys(r["command"] for r in found.values()))
    return f"#### {recipe['data']}\n\n{text_table(header, [row[1:] for row in rows])}\n\n```sh\n{commands}\n```\n"


def _row(found: dict[tuple[str, int], dict[str, Any]], name: str, differs: list[str] | None) -> list[Any]:
    """Return what to sort by, then the cells of one system."""
    seeds = [seed for known, seed in found if known == name]
    values = {kind: [_precision(found[name, seed], kind) for seed in seeds] for kind in KINDS}
    own = [_alone(found[name, seed]) for seed in seeds]
    gains = [_alone(found[name, s]) - _alone(found["flipped", s]) for s in seeds if ("flipped", s) in found]
    cells = ["-" if None in values[kind] else f"{np.mean(values[kind]):.3f}" for kind in KINDS]
    gain = f"{100 * np.mean(gains):+.1f}" if gains and name not in ("flipped", *CONTROLS) else "-"
    return [float(np.mean(own)), name, ", ".join(differs or ["-"]), str(len(seeds)), *cells, gain]


def _precision(result: dict[str, Any], kind: str) -> float | None:
    """Return the average precision of one score; a system that has one score only has it in each of its own kind."""
    scores = result["by_score"]
    if "score" in scores:  # an encoder
        kind = {"with_teacher": "score"}.get(kind, kind)
    elif "+" in result["name"]:  # a blend with the teacher's score
        kind = {"with_teacher": "combined", "combined": "-"}.get(kind, kind)
    return scores[kind]["test"]["average_precision"] if kind in scores else None


def _alone(result: dict[str, Any]) -> float:
    """Return the average precision without a teacher beside the student, or the system's only one."""
    for kind in ("combined", "answer", "score"):
        if kind in result["by_score"]:
            return float(result["by_score"][kind]["test"]["average_precision"])
    raise KeyError(f"{result['name']}: no score")
