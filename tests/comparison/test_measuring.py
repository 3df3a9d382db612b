"""Peak memory of a run: freed memory is not counted."""

from __future__ import annotations

import numpy as np

from flipkd.comparison.measuring import peak_memory, reset_peak_memory


def test_peak_memory_ignores_freed_memory():
    block = np.ones(40_000_000)
    high = peak_memory()
    del block
    reset_peak_memory()
    assert peak_memory() < high - 200_000_000
