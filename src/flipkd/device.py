"""Choice of the device for models."""

from __future__ import annotations

import torch

from flipkd import ranks


def best_device() -> str:
    """Return `cuda` where torch can use a GPU, else `cpu`; the GPU of Apple machines is not used.

    In a distributed run each process has a GPU of its own, such as `cuda:1`.
    """
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{ranks.local_rank() % torch.cuda.device_count()}" if ranks.launched() else "cuda"
