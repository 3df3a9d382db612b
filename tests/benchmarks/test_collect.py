"""Collecting results: differences of systems that the last run did not name are kept while they are true."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality" / "collect.py"
spec = importlib.util.spec_from_file_location("collect", SCRIPT)
collect = importlib.util.module_from_spec(spec)
spec.loader.exec_module(collect)


@pytest.fixture
def here(tmp_path) -> Path:
    (tmp_path / "here" / "results").mkdir(parents=True)
    return tmp_path / "here"


def comparison(folder: Path, f1: dict[str, float], differences: dict[str, list[str]]) -> Path:
    """A comparison's folder: results of one seed, and differences from `reference: names`."""
    (folder / "results").mkdir(parents=True, exist_ok=True)
    for name, value in f1.items():
        unit = {"data": "d", "name": name, "seed": 0, "metrics": {"test": {"f1": value}}}
        (folder / "results" / f"d-{name}-seed0.json").write_text(json.dumps(unit))
    every = {path.name.split("-")[1]: json.loads(path.read_text()) for path in (folder / "results").iterdir()}
    value = {name: unit["metrics"]["test"]["f1"] for name, unit in every.items()}
    rows = {
        against: [
            {
                "name": name,
                "against": against,
                "seeds": [0],
                "f1": {"difference": value[name] - value[against], "p_value": 0.01},
            }
            | {"average_precision": {"p_value": 0.02}}
            for name in names
        ]
        for against, names in differences.items()
    }
    whole = {"data": "d", "command": "c", "pairs": {}, "differences": rows, "units": list(every)}
    (folder / "results.json").write_text(json.dumps(whole))
    return folder


def collected(here: Path) -> dict[str, dict[str, float]]:
    found = json.loads((here / "differences" / "d.json").read_text())["differences"]
    return {against: {row["name"]: row["f1"]["difference"] for row in rows} for against, rows in found.items()}


def test_collect_adds_the_differences_of_a_later_run_of_some_systems(here, tmp_path):
    folder = comparison(tmp_path / "c", {"plain": 0.5, "flipped": 0.75}, {"plain": ["flipped"]})
    collect.main([folder], here)
    comparison(folder, {"plain_300": 0.25, "minus_mcl": 1.0}, {"plain_300": ["minus_mcl"]})
    collect.main([folder], here)
    assert collected(here) == {"plain": {"flipped": 0.25}, "plain_300": {"minus_mcl": 0.75}}


def test_collect_drops_a_difference_that_is_no_longer_true(here, tmp_path):
    folder = comparison(tmp_path / "c", {"plain": 0.5, "flipped": 0.75}, {"plain": ["flipped"]})
    collect.main([folder], here)
    comparison(folder, {"flipped": 1.0, "minus_mcl": 0.75}, {"plain": ["minus_mcl"]})
    collect.main([folder], here)
    assert collected(here) == {"plain": {"minus_mcl": 0.25}}


def test_collect_corrects_p_for_the_rows_of_both_runs(here, tmp_path):
    folder = comparison(tmp_path / "c", {"plain": 0.5, "flipped": 0.75}, {"plain": ["flipped"]})
    collect.main([folder], here)
    comparison(folder, {"minus_mcl": 0.75}, {"plain": ["minus_mcl"]})
    collect.main([folder], here)
    rows = json.loads((here / "differences" / "d.json").read_text())["differences"]["plain"]
    assert [row["f1"]["p_adjusted"] for row in rows] == [0.02, 0.02]


def test_collect_takes_nothing_over_when_one_comparison_was_stopped(here, tmp_path):
    folder = comparison(tmp_path / "c", {"plain": 0.5}, {})
    (tmp_path / "stopped" / "results").mkdir(parents=True)
    with pytest.raises(SystemExit, match="stopped; run it to its end"):
        collect.main([folder, tmp_path / "stopped"], here)
    assert list((here / "results").iterdir()) == []


def test_a_difference_over_more_seeds_outlives_a_later_run_of_one():
    def row(seeds, value):
        corrected = {"p_value": 0.01, "p_adjusted": 0.01}
        row = {"name": "flipped", "against": "plain", "seeds": seeds, "f1": corrected | {"difference": value}}
        return row | {"average_precision": dict(corrected)}

    f1 = {("plain", 0): 0.5, ("plain", 1): 0.5, ("flipped", 0): 0.75, ("flipped", 1): 0.625}
    both, one = {"plain": [row([0, 1], 0.1875)]}, {"plain": [row([0], 0.25)]}
    assert collect.merged(both, one, f1) == both
    assert collect.merged(one, both, f1) == both
    assert collect.merged(both, one, f1 | {("flipped", 1): 0.75}) == one, "the old one is no longer true"
