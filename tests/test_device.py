"""best_device: CUDA where torch can use it, else the CPU; checked_device names one that is not there."""

import pytest
import torch

from flipkd.device import best_device, checked_device
from flipkd.errors import ConfigError


def test_best_device_is_cuda_where_torch_can_use_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device() == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_checked_device_names_one_that_torch_cannot_use(name):
    with pytest.raises(ConfigError, match=f"device '{name}' cannot be used .*; write cpu, cuda or cuda:NUMBER"):
        checked_device(name)
    assert checked_device("cpu") == "cpu"
