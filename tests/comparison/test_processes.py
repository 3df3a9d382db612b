"""Tasks in several processes: all are done, a failure stops no other task, one GPU per process."""

import pytest
import torch
from worlds import card_of, seventh_of

from flipkd.comparison.processes import run_in_processes
from flipkd.errors import ConfigError, ResourceError


def test_run_in_processes_continues_after_a_failure():
    found = dict(run_in_processes(seventh_of, [1, 0, 2, 7], processes=2))
    assert isinstance(found.pop(0), ZeroDivisionError)
    assert found == {1: 7.0, 2: 3.5, 7: 1.0}


def test_run_in_processes_reports_a_killed_process():
    found = dict(run_in_processes(seventh_of, [1, 13], processes=2))
    assert found[1] == 7.0
    assert isinstance(found[13], ResourceError)


def test_run_in_processes_assigns_one_gpu_per_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    assert set(dict(run_in_processes(card_of, [0, 1, 2], processes=1)).values()) == {"5"}
    with pytest.raises(ConfigError, match="--num_processes is 3, but this machine has 2 GPUs"):
        list(run_in_processes(card_of, [0], processes=3))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(ConfigError, match="this machine has 4 GPUs"):
        list(run_in_processes(card_of, [0], processes=5))
