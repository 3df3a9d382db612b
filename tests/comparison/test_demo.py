"""demo: its files and its comparison; `make demo` runs the real models."""

from __future__ import annotations

from flipkd.comparison import demo as stage
from flipkd.data.check import check_pairs
from flipkd.data.leakage import leaks_by_side
from flipkd.data.pairs import read_pairs


def test_demo_compares_the_systems_on_its_own_pairs(tmp_path, monkeypatch):
    requested, found = [], [{"system": "plain"}, {"system": "flipped", "matcher": "runs/x/matcher"}]
    monkeypatch.setattr(stage, "compare", lambda config: requested.append(config) or found)
    results, matcher = stage.demo(str(tmp_path), seed=3)
    assert results == found
    (config,) = requested
    assert config.seeds == [3]
    assert config.output_dir == str(tmp_path)
    assert "flipped" in config.systems
    assert matcher == tmp_path / "runs" / "x" / "matcher"
    sets = {name: read_pairs(getattr(config, f"{name}_file")) for name in ("train", "validation", "test")}
    assert {name: len(dataset) for name, dataset in sets.items()} == stage.SIZES
    assert all(check_pairs(dataset).problems == [] for dataset in sets.values())
    assert {leak.rows for leak in leaks_by_side(sets).values()} == {0}
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    stage.demo(str(tmp_path), seed=3)
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before
