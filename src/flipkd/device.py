"""Where models run."""

from __future__ import annotations

import torch

from flipkd import ranks


def best_device() -> str:
    """`cuda` where there is a GPU that torch can use, else `cpu`; Apple's GPU is not used.

    Of several processes that train together each has a GPU of its own, such as `cuda:1`.
    """
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{ranks.local_rank() % torch.cuda.device_count()}" if ranks.launched() else "cuda"
