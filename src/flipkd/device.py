"""Choice of the device for models."""

from __future__ import annotations

import torch

from flipkd import ranks
from flipkd.errors import ConfigError, reason_of, shorten


def best_device() -> str:
    """Return `cuda` where torch can use a GPU, else `cpu`; the GPU of Apple machines is not used.

    In a distributed run each process has a GPU of its own, such as `cuda:1`.
    """
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{ranks.local_rank() % torch.cuda.device_count()}" if ranks.launched() else "cuda"


def checked_device(name: str) -> str:
    """Return a device's name. Raises ConfigError where torch cannot use it."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, TypeError) as error:  # AssertionError: torch without CUDA
        raise ConfigError(
            f"device {shorten(name)} cannot be used ({reason_of(error)}); write cpu, cuda or cuda:NUMBER, or leave it out"
        ) from None
    return name
