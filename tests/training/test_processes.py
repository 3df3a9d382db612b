"""What several processes cannot do is refused in words, and what they need is set."""

from types import SimpleNamespace

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.training import processes
from flipkd.training.arguments import training_arguments


def launch(monkeypatch, size=2):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(size)}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("variable", processes.BY_LAUNCHER)
def test_refuse_sharding_by_the_launcher(monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ConfigError, match=r"is not supported.*MULTI_GPU.*FSDP"):
        training_arguments(tmp_path, {})
    monkeypatch.setenv(variable, "false")
    training_arguments(tmp_path, {})


def test_refuse_sharding_by_an_argument(tmp_path):
    with pytest.raises(ConfigError, match=r"training_arguments.deepspeed is not supported"):
        training_arguments(tmp_path, {"deepspeed": {"zero_optimization": {"stage": 3}}})


def test_defaults_use_the_cpu_without_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "use_cpu" not in processes.defaults()
    launch(monkeypatch)
    assert processes.defaults()["use_cpu"] is True
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "use_cpu" not in processes.defaults()


def test_require_joined_refuses_separate_runs(monkeypatch):
    launch(monkeypatch)
    with pytest.raises(ConfigError, match=r"accelerate counts 1 processes, but .* are those of 2"):
        processes.require_joined(SimpleNamespace(world_size=1, auto_find_batch_size=False))
    with pytest.raises(ConfigError, match="auto_find_batch_size"):
        processes.require_joined(SimpleNamespace(world_size=2, auto_find_batch_size=True))
    processes.require_joined(SimpleNamespace(world_size=2, auto_find_batch_size=False))


@pytest.mark.parametrize("count, launched, said", [(0, False, 0), (1, False, 0), (4, False, 1), (4, True, 0)])
def test_warn_about_idle_gpus(monkeypatch, caplog, count, launched, said):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if launched:
        launch(monkeypatch)
    processes.warn_about_idle_gpus()
    assert caplog.text.count("one of 4 GPUs is used; flipkd train --num_processes 4 uses all") == said
