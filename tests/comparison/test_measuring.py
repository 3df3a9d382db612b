"""The process of a run: its peak memory does not count what was given back, its command is what was started."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from flipkd.comparison.measuring import command_line, peak_memory, reset_peak_memory


def test_memory_that_was_given_back_is_not_counted():
    block = np.ones(40_000_000)
    high = peak_memory()
    del block
    reset_peak_memory()
    assert peak_memory() < high - 200_000_000


@pytest.mark.parametrize(
    "words, told",
    [
        (["/usr/bin/flipkd", "compare", "--set", "seeds=[0, 1]"], "flipkd compare --set 'seeds=[0, 1]'"),
        (["/x/flipkd/__main__.py", "compare"], "flipkd compare"),
        (["mine.py"], "mine.py"),
    ],
)
def test_the_command_is_what_was_started(monkeypatch, words, told):
    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == told
