"""Lines of a training: aligned, as wide as the terminal, their names once."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from flipkd.training.lines import TrainingLines, fit_widths

LOGS = {
    "loss": 1.23456,
    "grad_norm": 2.5,
    "learning_rate": 4.5e-4,
    "epoch": 0.4,
    "answer_cross_entropy": 0.5123,
    "pairwise_pref_kl": 0.1234,
    "margin_hinge": 0.01,
    "in_batch_kl": 12.3456,
}
STATE = SimpleNamespace(is_world_process_zero=True, max_steps=600, global_step=0)


@pytest.fixture
def lines(monkeypatch, caplog):
    """`lines()` -> the lines that a training without a terminal has logged."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, logger="flipkd.progress")
    return lambda: caplog.messages


def logged(*logs: dict, columns: int, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    callback = TrainingLines()
    callback.on_train_begin(None, STATE, None)
    for step, values in enumerate(logs, 1):
        state = SimpleNamespace(**(vars(STATE) | {"global_step": 10 * step}))
        callback.on_log(None, state, None, logs=values)
    callback.on_train_end(None, STATE, None)


def test_training_lines_have_one_header_and_aligned_figures(lines, monkeypatch):
    logged(LOGS, LOGS | {"loss": 0.1}, {"train_runtime": 3.0}, columns=120, monkeypatch=monkeypatch)
    lines = lines()
    assert len(lines) == 3
    assert lines[0].split() == ["step", "epoch", "loss", *list(LOGS)[4:], "learning_rate", "grad_norm"]
    assert lines[1].split() == ["10", "0.40", "1.2346", "0.5123", "0.1234", "0.0100", "12.3456", "4.5e-04", "2.5000"]
    assert len({len(line) for line in lines}) == 1
    assert lines[0].index("loss") + 4 == lines[1].index("1.2346") + 6


def test_training_lines_have_a_new_header_for_other_objectives(lines, monkeypatch):
    logged({"loss": 1.0}, {"loss": 1.0, "cosent": 2.0}, columns=80, monkeypatch=monkeypatch)
    assert [line.split()[-1] for line in lines()] == ["loss", "1.0000", "cosent", "2.0000"]


def test_training_lines_fit_the_default_objectives_into_80_columns(lines, monkeypatch):
    logged(LOGS, columns=80, monkeypatch=monkeypatch)
    lines = lines()
    assert max(map(len, lines)) <= 80
    assert "12.3456" in lines[1]
    assert "pairwise_pr…  margin_hinge  in_batch_kl" in lines[0]


def test_fit_widths_keeps_step_epoch_and_loss_in_a_narrow_terminal():
    assert list(fit_widths(["step", "epoch", "loss", "margin_hinge"], 10)) == ["step", "epoch", "loss"]
