"""Progress of a training in the terminal: a bar, and one aligned line for each line of metrics.jsonl."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from flipkd.progress import bar

MIN_WIDTH = 7  # characters of a number
MIN_NAME_WIDTH = 10  # of a name that is truncated
FIRST, LAST = ("step", "epoch", "loss"), ("learning_rate", "grad_norm")


class TrainingLines(TrainerCallback):  # type: ignore[misc]
    """A progress bar of the steps, and above it the losses in columns; a header is written when the names change."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Start the bar at the step where the run resumes."""
        label = "training" if state.is_world_process_zero else None
        self.bar = bar(state.max_steps, label, unit="step", initial=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Advance the bar."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_unused: Any
    ) -> None:
        """Write one line of numbers, but not the totals at the end of a run."""
        if not state.is_world_process_zero or logs is None or "loss" not in logs:
            return
        values = {"step": state.global_step, **logs}
        names = [*FIRST, *(name for name in values if name not in (*FIRST, *LAST)), *LAST]
        names = [name for name in names if name in values]
        widths = fit_widths(names, shutil.get_terminal_size().columns)
        if names != self.names:
            self.names = names
            self.bar.write(
                format_row([truncate_name(name, width) for name, width in widths.items()], widths), file=sys.stderr
            )
        self.bar.write(format_row([format_number(name, values[name]) for name in widths], widths), file=sys.stderr)

    def on_train_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Close the bar."""
        self.bar.close()


def fit_widths(names: Sequence[str], width: int) -> dict[str, int]:
    """Return the width of each column for a line of `width` characters: drops the least useful columns, truncates long names."""
    widths = {name: max(len(name), MIN_WIDTH) for name in names}

    def excess() -> int:
        return sum(widths.values()) + 2 * (len(widths) - 1) - width

    while excess() > 0 and list(widths)[-1] in LAST:
        widths.popitem()
    while excess() > 0:
        longest = max(widths, key=lambda name: widths[name])
        if widths[longest] <= MIN_NAME_WIDTH:
            break
        widths[longest] -= 1
    while excess() > 0 and len(widths) > len(FIRST):
        widths.popitem()
    return widths


def format_row(cells: Sequence[str], widths: Mapping[str, int]) -> str:
    """Return a line of right-aligned cells."""
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths.values(), strict=True))


def truncate_name(name: str, width: int) -> str:
    """Return the name in at most `width` characters."""
    return name if len(name) <= width else name[: width - 1] + "…"


def format_number(name: str, value: float) -> str:
    """Return a value in the format of its column."""
    if name == "step":
        return str(value)
    return f"{value:.1e}" if name == "learning_rate" else f"{value:.2f}" if name == "epoch" else f"{value:.4f}"
