"""The table of docs/search_relevance.md is that of the stored result, whose means are those of its queries."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "retrieval" / "run.py"
spec = importlib.util.spec_from_file_location("retrieval_run", SCRIPT)
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


def test_the_page_is_what_the_result_says(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["run.py", "--check"])
    run.main()
    page = run.PAGE.read_text(encoding="utf-8")
    (tmp_path / "page.md").write_text(page.replace("| bm25 ", "| BM25 ", 1), encoding="utf-8")
    monkeypatch.setattr(run, "PAGE", tmp_path / "page.md")
    with pytest.raises(SystemExit, match="is not what the result says"):
        run.main()


def test_the_means_are_those_of_the_queries():
    for result in json.loads(run.RESULT.read_text(encoding="utf-8")):
        for name, metrics in result["systems"].items():
            rows = result["per_query"][name].values()
            assert len(rows) == result["queries"]
            for metric, value in metrics.items():
                assert np.mean([row[metric] for row in rows]) == pytest.approx(value, abs=1e-4)
