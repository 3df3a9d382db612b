"""Progress: a bar in a terminal, a line every 30 seconds in a log, nothing without a label."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from flipkd import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_bar_logs_a_line_every_30_seconds_without_a_terminal(clock, caplog, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, logger="flipkd.progress")
    with progress.bar(2_000, "pairs", unit="pair", initial=500) as bar:
        for _ in range(1_400 // 10):
            clock[0] += 1
            bar.update(10)
    assert len(caplog.messages) == 4
    assert caplog.messages[0] == "pairs: 800 of 2,000 pairs (40 %), 10 a second, 2 min left"
    assert caplog.messages[3] == "pairs: 1,700 of 2,000 pairs (85 %), 10 a second, 30 s left"
    assert sys.stderr.getvalue() == ""


def test_bar_logs_nothing_for_a_step_under_30_seconds(clock, caplog, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, logger="flipkd.progress")
    with progress.bar(10, "pairs", unit="pair") as bar:
        clock[0] += 29
        bar.update(10)
    assert caplog.messages == []


def test_bar_shows_its_label_in_a_terminal(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TQDM_DELAY", "0")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with progress.bar(10, "validation", unit="pair") as bar:
        bar.update(10)
    assert "validation: 100%" in screen.getvalue()


def test_bar_without_a_label_shows_nothing(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.bar(10, None, unit="pair") as bar:
        bar.update(10)
    assert screen.getvalue() == ""


def test_loading_logs_the_name_of_the_model(caplog):
    caplog.set_level(logging.INFO, logger="flipkd.progress")
    progress.loading("gemma-3-270m")
    assert caplog.messages == ["loading gemma-3-270m ..."]
