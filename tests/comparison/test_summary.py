"""results.json and report.html of a comparison; results.json does not need the report extra."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from flipkd.comparison.scores import Split, result_path, save_scores, scores_path
from flipkd.comparison.summary import write_summary
from flipkd.config import CompareConfig
from flipkd.data.labels import labels_of
from flipkd.data.pairs import read_pairs


@pytest.fixture
def comparison(pair_files, tmp_path):
    """(config, sets, results) of two systems, one of them right everywhere."""
    files = {f"{name}_file": path for name, path in pair_files.items()}
    config = CompareConfig.check({**files, "output_dir": str(tmp_path), "data": "tiny"})
    sets = {name: read_pairs(path) for name, path in pair_files.items()}
    labels = [labels_of(sets[name]).astype(float) for name in ("validation", "test")]
    metrics = dict.fromkeys(("f1", "average_precision", "accuracy", "roc_auc", "precision", "recall"), 0.5)
    split = {"validation": metrics | {"threshold": 0.5}, "test": metrics | {"threshold": 0.5}}
    results = []
    for name, columns in (("plain", [np.zeros(len(label)) for label in labels]), ("flipped", labels)):
        save_scores(scores_path(result_path(tmp_path, "tiny", name, 0)), {"answer": Split(*columns)})
        common = {"seconds": 1.0, "peak_memory_bytes": 1, "cost": {}, "overrides": {}, "versions": {}, "command": "c"}
        result = {"name": name, "system": name, "seed": 0, "score": "answer", "by_score": {"answer": split}}
        results.append(common | result | {"metrics": split})
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "mine": 2.0}\n{"step": 2, "mine": 1.0}\n')
    results[0] |= {"matcher": "runs/x/matcher", "identity": {"train": {"objectives": {"mine": 1.0}}}}
    return config, sets, results


def test_write_summary_writes_results_and_report(comparison, tmp_path):
    assert write_summary(*comparison, planned=3) == f"report: {tmp_path / 'report.html'}"
    whole = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in whole["summary"]] == ["plain", "flipped"]
    (difference,) = whole["differences"]["plain"]
    assert difference["f1"]["difference"] == 1
    assert whole["pairs"]["test"]["pairs"] == 24
    assert len(whole["units"]) == 2
    page = (tmp_path / "report.html").read_text()
    assert "flipped" in page
    assert "Not finished: 2 of 3 runs." in page
    assert page.count('id="spec-losses-') == 1, "the losses of the one run that left any"


def test_write_summary_without_the_report_extra(comparison, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    assert "flipkd[report]" in write_summary(*comparison, planned=3)
    assert (tmp_path / "results.json").exists()
    assert not (tmp_path / "report.html").exists()
