"""Show what lasts: a named bar in a terminal, elsewhere a log line every 30 seconds, and a line while a model loads.

Lines go to the logger `flipkd.progress` at level INFO, which the command line shows always and a Python program when it
asks for it.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Self

logger = logging.getLogger("flipkd.progress")
EVERY = 30.0  # seconds between two lines


def loading(name: object) -> None:
    """Say that a model is being loaded, before the libraries are imported that it needs."""
    logger.info("loading %s ...", name)


def bar(total: int, label: str | None, *, unit: str, initial: int = 0) -> Any:
    """A context with `update(count)` and `close()`; without a label it shows nothing."""
    from tqdm.auto import tqdm

    if label is not None and not sys.stderr.isatty():
        return Lines(total, label, unit=unit, initial=initial)
    return tqdm(total=total, desc=label, unit=unit, initial=initial, disable=label is None, dynamic_ncols=True)


class Lines:
    """The same as a tqdm bar for a log file: how far, how fast, how long yet."""

    def __init__(self, total: int, label: str, *, unit: str, initial: int = 0) -> None:
        self.total, self.label, self.unit, self.n, self.initial = total, label, unit, initial, initial
        self.start = self.last = time.monotonic()

    def update(self, count: int = 1) -> None:
        """Count on; log a line where the last one is EVERY seconds old."""
        self.n += count
        now = time.monotonic()
        if now - self.last < EVERY:
            return
        self.last = now
        speed = (self.n - self.initial) / (now - self.start)
        left = (self.total - self.n) / speed if speed else 0.0
        logger.info(
            "%s: %s of %s %ss (%.0f %%), %.3g a second, %s left",
            self.label,
            f"{self.n:,}",
            f"{self.total:,}",
            self.unit,
            100 * self.n / max(self.total, 1),
            speed,
            f"{left / 60:.0f} min" if left >= 100 else f"{left:.0f} s",
        )

    def write(self, text: str, file: Any = None) -> None:
        """Log a line of its own."""
        logger.info("%s", text)

    def close(self) -> None:
        """Nothing is left to be drawn."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
