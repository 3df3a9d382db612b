"""The benchmark of candidates: its vectors, its recall, and the file that it writes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scale" / "candidates.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_candidates", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_candidates_benchmark_writes_its_figures(bench, encoders, pair_files, tmp_path, monkeypatch, capsys):
    output = tmp_path / "r.json"
    words = [pair_files["train"], "--records", "50", "--top_k", "3", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["candidates.py", *words, "--encoder", str(encoders / "bi")])
    bench.main()
    found = json.loads(output.read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert (found["left"], found["right"], found["top_k"], found["recall@3"]) == (50, 50, 3, 1.0)


def test_recall_counts_what_was_missed(bench):
    vectors = bench.repeated(np.eye(4, dtype=np.float32), 20, noise=0.5, seed=0)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    left, right = bench.nearest_pairs(vectors, vectors, top_k=4)
    assert bench.recall(vectors, vectors, (left, right), top_k=4) == 1
    assert bench.recall(vectors, vectors, (left[::2], right[::2]), top_k=4) == pytest.approx(0.5)


def test_the_kept_figures_are_those_of_the_page():
    kept = json.loads(SCRIPT.with_name("results.json").read_text())
    page = (SCRIPT.parents[2] / "docs" / "candidates.md").read_text(encoding="utf-8")
    assert f"{kept['left']:,} x {kept['right']:,}" in page
    for name in ("cpu_seconds", "search_mib", "vectors_mib"):
        assert f"{kept[name]:,.0f}" in page
    assert kept["recall@20"] >= 0.99
