"""The tables of mined pairs, of the answer's objective, of the field's objectives and of a second student, for `tables.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flipkd.commands.results import text_table

RECIPES = Path(__file__).parents[2] / "recipes"
KINDS = ("answer", "cosine", "combined", "with_teacher")
CONTROLS = ("plain", "no_teacher", "teacher_finetuned", "plain+teacher_finetuned")
ENCODERS = ("teacher", "plain+teacher")  # without fine-tuning
WITHOUT_MINED = ("no_mined_no_kd", "no_mined")
BY_ANSWER = (("bernoulli_kd", "flipped"), ("flipped", "pairwise_pref"))  # the second recipes have an earlier default


def recipes_table(results: list[dict[str, Any]], folder: str) -> str:
    """AP on test, a table per recipe of the folder that has results: the best without a teacher beside it first."""
    paths = sorted((RECIPES / folder).glob("*.yaml"))
    return "\n".join(_table(results, path) for path in paths).strip("\n") + "\n"


def mined_table(results: list[dict[str, Any]]) -> str:
    """AP on test of students without mined pairs beside flipped and the controls, for the sets and seeds that have both."""
    found = {(r["data"], r["seed"], r["name"]): _precisions(r) for r in results}
    units = sorted({(data, seed) for data, seed, name in found if name in WITHOUT_MINED})
    rows = [
        [data, str(seed), name, *(f"{values[kind]:.3f}" if kind in values else "-" for kind in KINDS)]
        for data, seed in units
        for name in (*CONTROLS, "flipped", "bernoulli_kd", *WITHOUT_MINED)
        if (values := found.get((data, seed, name)))
    ]
    return text_table(["AP on test", "seed", "system", *KINDS], rows) + "\n"


def answer_objective_table(results: list[dict[str, Any]]) -> str:
    """AP on test of a student with `bernoulli_kd` / with `pairwise_pref_kl`, for the sets and seeds that have both."""
    found = {(r["data"], r["seed"], r["name"]): r for r in results}
    units: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for data, seed in sorted({(data, seed) for data, seed, _ in found}):
        for names in BY_ANSWER:
            first, second = (found.get((data, seed, name)) for name in names)
            if first and second:
                units.setdefault(data, []).append((first, second))
    rows, values = [], []
    for data, pairs in units.items():
        both = [[_final_too(result) for result in same] for same in zip(*pairs, strict=True)]
        kinds = ("answer", "cosine", "combined", "final")
        means = [[float(np.mean([unit[kind] for unit in same])) for kind in kinds] for same in both]
        values.append(means)
        rows.append([data, ", ".join(str(first["seed"]) for first, _ in pairs), *_both(means)])
    rows.append(["mean", "", *_both(np.mean(values, axis=0).tolist())])
    return text_table(["AP on test", "seeds", "answer", "cosine", "combined", "final score"], rows) + "\n"


def _both(means: list[list[float]]) -> list[str]:
    return [f"{first:.3f} / {second:.3f}" for first, second in zip(*means, strict=True)]


def _final_too(result: dict[str, Any]) -> dict[str, float]:
    """Return the average precision of each score and, as `final`, of the one that decides."""
    return _precisions(result) | {"final": float(result["metrics"]["test"]["average_precision"])}


def _table(results: list[dict[str, Any]], path: Path) -> str:
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {(r["name"], r["seed"]): r for r in results if r["data"] == recipe["data"]}
    names = [name for name in recipe["systems"] if any(name == known for known, _ in found)]
    if not names:
        return ""
    rows = sorted((_row(found, name, recipe["variants"].get(name)) for name in names), key=lambda row: -row[0])
    header = ["AP on test", "differs from flipped by", "seeds", *KINDS, "combined minus flipped's"]
    command = (
        f"flipkd compare --config {path.relative_to(RECIPES.parent)}    # one run of it: --systems flipped --seeds 0"
    )
    return f"#### {recipe['data']}\n\n{text_table(header, [row[1:] for row in rows])}\n\n```sh\n{command}\n```\n"


def _row(found: dict[tuple[str, int], dict[str, Any]], name: str, differs: list[str] | None) -> list[Any]:
    """Return what to sort by (the gain over flipped in the same seeds), then the cells of one system."""
    by_seed = {seed: _precisions(result) for (known, seed), result in found.items() if known == name}
    means = {
        kind: float(np.mean([values[kind] for values in by_seed.values()]))
        for kind in KINDS
        if all(kind in values for values in by_seed.values())
    }
    flipped = {seed: _precisions(result) for (known, seed), result in found.items() if known == "flipped"}
    kind = next(kind for kind in ("combined", "answer", "with_teacher") if kind in means)
    gains = [by_seed[seed][kind] - flipped[seed]["combined"] for seed in by_seed.keys() & flipped.keys()]
    shown = bool(gains) and name not in ("flipped", *CONTROLS, *ENCODERS)
    gain = f"{100 * np.mean(gains):+.1f}" if shown else "-"
    cells = [f"{means[kind]:.3f}" if kind in means else "-" for kind in KINDS]
    rank = float(np.mean(gains)) if gains else means[kind]
    return [rank, name, ", ".join(differs or ["-"]), str(len(by_seed)), *cells, gain]


def _precisions(result: dict[str, Any]) -> dict[str, float]:
    """Return kind of score -> average precision on test; the only score of an encoder or a blend is `with_teacher`."""
    values = {kind: float(scores["test"]["average_precision"]) for kind, scores in result["by_score"].items()}
    if "score" in values or "+" in result["name"]:
        return {"with_teacher": values["score"] if "score" in values else values["combined"]}
    return values
