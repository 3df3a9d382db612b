"""The figures of exports: a row for each combination, written when it is measured, and kept while its matcher is the same."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
from tiny import make_table, write_pairs

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "export" / "run.py"
spec = importlib.util.spec_from_file_location("export_run", SCRIPT)
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


@pytest.fixture
def demo(tiny_matcher, tmp_path, monkeypatch) -> Path:
    """Folder of a demo with one matcher, of which one format is measured in two types of weights."""
    folder = tmp_path / "demo"
    shutil.copytree(tiny_matcher(), folder / "runs" / "plain-0-seed0" / "matcher")
    (folder / "data").mkdir()
    write_pairs(folder / "data" / "test.csv", make_table(20, seed=1))
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(run, "PLANS", {"plain": ("merged", "gguf")})
    monkeypatch.setattr(run, "DTYPES", {"merged": ("float32",), "gguf": ("int8",)})
    monkeypatch.setattr(sys, "argv", ["run.py", str(folder), "--pairs", "8"])
    return folder


def rows() -> list[dict]:
    return json.loads(run.RESULTS.read_text())["rows"]


def test_rows_are_kept_until_their_matcher_changes_and_what_is_missing_is_named(demo, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    run.main()
    measured, missing = rows()
    assert (measured["pairs"], measured["ids_equal"], measured["beyond"]) == (8, 8, [])
    assert measured["megabytes"] > 0
    assert "llama_cpp, which is not installed" in missing["not_measured"]
    assert "llama_cpp, which is not installed" in capsys.readouterr().out
    calls = []
    monkeypatch.setattr(run, "measure", lambda matcher, to, dtype, pairs: calls.append(to) or {"pairs": 0})
    run.main()
    assert calls == ["gguf"]
    (demo / "runs" / "plain-0-seed0" / "matcher" / "manifest.json").write_text("{}")
    run.main()
    assert calls == ["gguf", "merged", "gguf"]
    assert [row["pairs"] for row in rows()] == [0, 0]


def test_matcher_of_refuses_a_folder_without_the_matcher(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(SystemExit, match="give the folder that flipkd demo wrote"):
        run.matcher_of("plain", tmp_path)
