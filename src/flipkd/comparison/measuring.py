"""Peak memory of the process that computes a run."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from pathlib import Path

logger = logging.getLogger(__name__)


def reset_peak_memory() -> None:
    """Reset the peak. Only Linux can reset it; other systems report the peak of the complete process."""
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # glibc keeps freed weights: 1.5 GB after one small student
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except (OSError, AttributeError) as error:
            logger.debug("peak memory is that of the complete process: %s", error)


def peak_memory() -> int:
    """Peak resident memory in bytes since the last reset."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    run = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * run
