"""The table of docs/serve.md is what the last run of benchmarks/serve/soak.py found, and that run found no wrong answer."""

import importlib.util
import json
from pathlib import Path

FILE = Path(__file__).parents[2] / "benchmarks" / "serve" / "soak.py"


def test_the_page_shows_the_results_and_filling_it_again_changes_nothing():
    spec = importlib.util.spec_from_file_location("soak", FILE)
    soak = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(soak)
    page = soak.PAGE.read_text(encoding="utf-8")
    assert soak.filled(page) == page
    results = json.loads((FILE.parent / "soak.json").read_text(encoding="utf-8"))
    assert (results["wrong_answers"], results["exit_code"]) == (0, 0)
    assert set(results["statuses"]) <= {"200", "429", "503"}
    assert results["clients"] == 1000
