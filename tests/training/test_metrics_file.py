"""MetricsFile and read_totals: the log of a resumed run has each step once."""

import json
from types import SimpleNamespace

import pytest

from flipkd.training.metrics_file import METRICS, MetricsFile, read_totals

STATE = {"is_world_process_zero": True}


def steps_in(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("torn", [False, True])
def test_metrics_file_drops_lines_after_the_resumed_step(tmp_path, torn):
    path = tmp_path / METRICS
    file = MetricsFile(path)
    for step in (10, 20, 30):
        file.on_log(None, SimpleNamespace(global_step=step, **STATE), None, logs={"loss": 1.0})
    if torn:
        path.write_text(path.read_text()[:-8])
    file.on_train_begin(None, SimpleNamespace(global_step=20, **STATE), None)
    file.on_log(None, SimpleNamespace(global_step=30, **STATE), None, logs={"loss": 0.5})
    assert steps_in(path) == [10, 20, 30]
    assert json.loads(path.read_text().splitlines()[-1])["loss"] == 0.5


def test_metrics_file_is_written_by_rank_0_alone(tmp_path):
    other = SimpleNamespace(global_step=10, is_world_process_zero=False)
    file = MetricsFile(tmp_path / METRICS)
    file.on_train_begin(None, other, None)
    file.on_log(None, other, None, logs={"loss": 1.0})
    assert not (tmp_path / METRICS).exists()


def test_read_totals_needs_the_line_that_a_finished_run_writes(tmp_path):
    path = tmp_path / METRICS
    assert read_totals(path) == {}
    path.write_text('{"step": 1, "loss": 2.0}\n')
    assert read_totals(path) == {}
    path.write_text(path.read_text() + '{"step": 2, "train_runtime": 3, "train_loss": 0.5}\n{"step": 2, "tr')
    assert read_totals(path) == {"train_runtime": 3.0, "train_loss": 0.5}
