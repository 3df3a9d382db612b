"""Marks of tests that run the same assertions on the CPU and on a GPU; without a GPU the latter say that they were skipped."""

from __future__ import annotations

import warnings

import pytest
import torch

from flipkd.student.attention import AUTO, PACKED

REASON = "no GPU that torch can use"
with warnings.catch_warnings(action="ignore"):  # of an old driver; a warning would end the collection of all tests
    GPU = torch.cuda.is_available()
ON_GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not GPU, reason=REASON),
    pytest.mark.filterwarnings(
        "default"
    ),  # torch warns on CUDA of streams and of prototypes, which is no fault of ours
)
each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])


def packed_on(device: str) -> str:
    """The attn_implementation that gives packed rows: on a GPU the default."""
    return AUTO if device == "cuda" else PACKED


def on_gpu(test):
    """Marks a test that only a GPU can pass."""
    for mark in ON_GPU:
        test = mark(test)
    return test


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """|found - expected| as a share of |expected|, on the CPU; infinite where something is not finite."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    share = (found - expected).norm() / expected.norm().clamp(min=1e-30)
    return float(share) if share.isfinite() else float("inf")
