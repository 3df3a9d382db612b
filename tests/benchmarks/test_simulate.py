"""The tables of docs/watch.md and docs/ab.md are those of the simulation's results, and these keep the stated levels."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "watch" / "simulate.py"
spec = importlib.util.spec_from_file_location("simulate", SCRIPT)
simulate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(simulate)


def test_simulate_check_compares_the_pages_with_the_results(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["simulate.py", "--check"])
    simulate.main()
    changed = simulate.PAGES["peeking"].read_text(encoding="utf-8").replace("% of ", "% of 1", 1)
    (tmp_path / "ab.md").write_text(changed, encoding="utf-8")
    monkeypatch.setitem(simulate.PAGES, "peeking", tmp_path / "ab.md")
    with pytest.raises(SystemExit, match=r"ab\.md is not what the results say"):
        simulate.main()


def test_simulate_results_have_no_more_alarms_and_findings_than_stated():
    result = json.loads(simulate.RESULT.read_text(encoding="utf-8"))
    alarms = result["false alarms"]
    assert all(count <= float(alpha) * alarms["runs"] for alpha, count in alarms["alarms"].items())
    equal = [row for row in result["peeking"] if row["rates"][0] == row["rates"][1]]
    assert len(equal) == 3
    assert all(row["decided"] <= 0.05 * row["runs"] for row in equal)


def test_simulate_peeking_and_false_alarms_of_a_small_simulation_have_the_same_keys(monkeypatch):
    assert simulate.false_alarms(2)["runs"] == 2
    monkeypatch.setattr(simulate, "EXPERIMENTS", [(0.2, 0.6, 0.5, 300)])
    [row] = simulate.peeking(3)
    assert (row["decided"], row["runs"]) == (3, 3)
