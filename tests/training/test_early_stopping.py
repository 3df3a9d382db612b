"""Early stopping: when it ends a run, that measuring changes no weight, and that a resumed run ends alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flipkd.errors import ConfigError
from flipkd.training import run
from flipkd.training.early_stopping import MEASURED, has_stopped
from flipkd.training.finish import Validation
from flipkd.training.run import fresh_student, run_objectives, train


@pytest.mark.parametrize(
    "values, patience, stopped",
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.4], 1, True),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.45], 2, True),
        ([0.5, 0.4, 0.6], 2, False),
        ([0.5, 0.4, 0.6, 0.1], 2, False),
        ([0.5, 0.4, 0.3], None, False),
    ],
)
def test_early_stopping_stops_a_run_after_patience_values_that_are_no_better(values, patience, stopped):
    assert has_stopped([{"step": 1, "loss": 9.0}, *({MEASURED: value} for value in values)], patience) is stopped


def trained(make_config, table, folder, **changes):
    config = make_config(output_dir=str(folder), select_checkpoint="best", save_total_limit=9, **changes)
    student, contract = fresh_student(config)
    objectives = run_objectives(config, table, table)
    train(student, contract, config, objectives=objectives, table=table, validation=table)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return load_file(folder / "matcher" / "adapter" / "adapter_model.safetensors"), lines


@pytest.mark.slow
def test_early_stopping_logs_its_measure_and_changes_no_weight(make_config, table, tmp_path):
    without, lines = trained(make_config, table, tmp_path / "without")
    assert not any(MEASURED in line for line in lines)
    measured, logged = trained(make_config, table, tmp_path / "with", early_stopping_patience=99)
    assert all(torch.equal(without[name], measured[name]) for name in without)
    assert [line["step"] for line in logged if MEASURED in line] == [4, 8, 12, 16]  # of 18, saved every 4
    assert [line["loss"] for line in logged if "loss" in line] == [line["loss"] for line in lines if "loss" in line]
    assert len({line[MEASURED] for line in logged if MEASURED in line}) > 1


def test_early_stopping_ends_a_run_and_a_resumed_one_at_the_same_step(
    make_config, table, tmp_path, monkeypatch, caplog
):
    values = {4: 0.5, 8: 0.7, 12: 0.6, 16: 0.9}

    def last_saved(self):
        saved = [int(path.name.partition("-")[2]) for path in Path(self.config.output_dir).glob("checkpoint-*")]
        return values[max(saved, default=0) + 4]

    monkeypatch.setattr(Validation, "precision", last_saved)
    settings = {"early_stopping_patience": 1}
    folder = tmp_path / "run"
    monkeypatch.setattr(run, "load_best_checkpoint", lambda *_: None)
    first, lines = trained(make_config, table, folder, **settings)
    assert "stopping early at step 12 of 18: the last 1 checkpoints" in caplog.text
    assert max(line["step"] for line in lines) == 12
    shutil.rmtree(folder / "matcher")  # as if killed before the matcher was written
    again, same = trained(make_config, table, folder, **settings)
    assert same == lines
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in ("matcher", "checkpoint-12"):
        shutil.rmtree(folder / name)  # as if killed after step 8
    again, same = trained(make_config, table, folder, **settings)
    assert [line[MEASURED] for line in same if MEASURED in line] == [0.5, 0.7, 0.6]
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_early_stopping_needs_the_best_checkpoint_and_no_average(make_config):
    with pytest.raises(ConfigError, match="set select_checkpoint to best"):
        make_config(early_stopping_patience=2)
    with pytest.raises(ConfigError, match="average_weights averages the last of the planned steps"):
        make_config(early_stopping_patience=2, select_checkpoint="best", average_weights=0.5)
