"""Progress of long steps: a named bar in a terminal, else a log line every 30 seconds, and a line when a model loads.

Lines go to the logger `flipkd.progress` at level INFO. The command line always shows them; a Python program sees them
when it sets that level.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Self

from flipkd.figures import figure

logger = logging.getLogger("flipkd.progress")
INTERVAL = 30.0  # seconds between two lines


def loading(name: object) -> None:
    """Log that a model is being loaded; call it before its libraries are imported, which takes seconds."""
    logger.info("loading %s ...", name)


def bar(total: int, label: str | None, *, unit: str, initial: int = 0) -> Any:
    """Return a context manager with `update(count)` and `close()`; without a label it shows nothing."""
    from tqdm.auto import tqdm

    if label is not None and not sys.stderr.isatty():
        return Lines(total, label, unit=unit, initial=initial)
    return tqdm(total=total, desc=label, unit=unit, initial=initial, disable=label is None, dynamic_ncols=True)


class Lines:
    """Interface of a tqdm bar for log files: a line has the progress, the speed and the remaining time."""

    def __init__(self, total: int, label: str, *, unit: str, initial: int = 0) -> None:
        self.total, self.label, self.unit, self.n, self.initial = total, label, unit, initial, initial
        self.start = self.last = time.monotonic()

    def update(self, count: int = 1) -> None:
        """Add to the count; log a line if the last one is INTERVAL seconds old."""
        self.n += count
        now = time.monotonic()
        if now - self.last < INTERVAL:
            return
        self.last = now
        speed = (self.n - self.initial) / (now - self.start)
        left = (self.total - self.n) / speed if speed else 0.0
        logger.info(
            "%s: %s of %s %ss (%.0f %%), %s a second, %s left",
            self.label,
            f"{self.n:,}",
            f"{self.total:,}",
            self.unit,
            100 * self.n / max(self.total, 1),
            figure(speed, 3),
            f"{left / 60:.0f} min" if left >= 100 else f"{left:.0f} s",
        )

    def write(self, text: str, file: Any = None) -> None:
        """Log a text."""
        logger.info("%s", text)

    def close(self) -> None:
        """Do nothing: a log has no bar to remove."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
