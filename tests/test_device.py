"""best_device: CUDA where torch can use it, else the CPU."""

import torch

from flipkd.device import best_device


def test_best_device_is_cuda_where_torch_can_use_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device() == "cpu"
