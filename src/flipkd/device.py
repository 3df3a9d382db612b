"""Where models run."""

from __future__ import annotations

import torch


def best_device() -> str:
    """`cuda` where there is a GPU that torch can use, else `cpu`; Apple's GPU is not used."""
    return "cuda" if torch.cuda.is_available() else "cpu"
