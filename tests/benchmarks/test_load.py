"""The table of docs/serve.md is what the last run of benchmarks/serve/load.py found."""

import importlib.util
import json
from pathlib import Path

FILE = Path(__file__).parents[2] / "benchmarks" / "serve" / "load.py"


def test_the_page_shows_the_results_and_filling_it_again_changes_nothing():
    spec = importlib.util.spec_from_file_location("load", FILE)
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    page = load.PAGE.read_text(encoding="utf-8")
    assert load.filled(page) == page
    results = json.loads((FILE.parent / "results.json").read_text(encoding="utf-8"))
    for name, (value, bar) in results["ratios"].items():
        assert f"| {name} | {value:.2f} | {bar} |" in page
    assert results["served"]["exit_code"] == 0
    assert set(results["served"]["flood"]["statuses"]) <= {"200", "429"}
