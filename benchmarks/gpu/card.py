"""The card itself: what it is called, the rate of one large product, the rate of a copy; and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from machine import timed

if TYPE_CHECKING:
    from bench import Bench

TURNS = 20


def about_card(device: str) -> dict[str, Any]:
    """Name, memory and versions; without a GPU there is only torch's version."""
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "cuda": torch.version.cuda}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"card": properties.name, "memory_bytes": properties.total_memory}
    return found


def wait() -> None:
    """Return when the GPU has done what it was told; on a CPU at once."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def now() -> float:
    """Seconds, after all that was begun on the GPU."""
    wait()
    return time.perf_counter()


def product(bench: Bench) -> dict[str, Any]:
    """FLOP/s of a square bfloat16 product of random numbers, the median of TURNS."""
    size = bench.size.product
    left, right = (torch.randn(size, size, device=bench.device).bfloat16() for _ in range(2))
    out = torch.empty_like(left)
    seconds = _turns(lambda: torch.mm(left, right, out=out))
    return {"value": 2.0 * size**3 / seconds, "unit": "FLOP/s", "settings": {"size": size, "dtype": "bfloat16"}}


def copy(bench: Bench) -> dict[str, Any]:
    """Bytes per second read and written by a copy on the device, the median of TURNS."""
    source = torch.ones(bench.size.copied_bytes, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    seconds = _turns(lambda: target.copy_(source))
    return {"value": 2.0 * len(source) / seconds, "unit": "bytes/s", "settings": {"bytes": len(source)}}


def _turns(work: Callable[[], Any]) -> float:
    for _ in range(3):
        work()
    return median(_turn(work) for _ in range(TURNS))


def _turn(work: Callable[[], Any]) -> float:
    """Seconds of one turn: by the GPU's own events where there is one."""
    if not torch.cuda.is_available():
        return timed(work)[0]
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000
