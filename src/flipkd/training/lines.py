"""Training for people who watch: a named bar, and one aligned line for each line of metrics.jsonl."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from flipkd.progress import bar

LEAST = 7  # characters of a number
LEAST_NAME = 10  # of a name that is cut to fit
FIRST, LAST = ("step", "epoch", "loss"), ("learning_rate", "grad_norm")


class TrainingLines(TrainerCallback):  # type: ignore[misc]
    """Steps done and time left, and above them the losses in columns; the names once, and again when others come."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Begin where the run goes on."""
        label = "training" if state.is_world_process_zero else None
        self.bar = bar(state.max_steps, label, unit="step", initial=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Count the steps since the last call."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_unused: Any
    ) -> None:
        """Write one line of numbers; the totals at the end are no part of it."""
        if not state.is_world_process_zero or logs is None or "loss" not in logs:
            return
        values = {"step": state.global_step, **logs}
        names = [*FIRST, *(name for name in values if name not in (*FIRST, *LAST)), *LAST]
        names = [name for name in names if name in values]
        widths = fitted(names, shutil.get_terminal_size().columns)
        if names != self.names:
            self.names = names
            self.bar.write(row([shortened(name, width) for name, width in widths.items()], widths), file=sys.stderr)
        self.bar.write(row([number(name, values[name]) for name in widths], widths), file=sys.stderr)

    def on_train_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Leave the terminal in order."""
        self.bar.close()


def fitted(names: Sequence[str], width: int) -> dict[str, int]:
    """The width of each column in a line of `width` characters: what is of least use is left out, long names are cut."""
    widths = {name: max(len(name), LEAST) for name in names}

    def excess() -> int:
        return sum(widths.values()) + 2 * (len(widths) - 1) - width

    while excess() > 0 and list(widths)[-1] in LAST:
        widths.popitem()
    while excess() > 0 and (longest := max(widths, key=lambda name: widths[name])) and widths[longest] > LEAST_NAME:
        widths[longest] -= 1
    while excess() > 0 and len(widths) > len(FIRST):
        widths.popitem()
    return widths


def row(cells: Sequence[str], widths: Mapping[str, int]) -> str:
    """Cells aligned on the right."""
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths.values(), strict=True))


def shortened(name: str, width: int) -> str:
    """A name in at most `width` characters."""
    return name if len(name) <= width else name[: width - 1] + "…"


def number(name: str, value: float) -> str:
    """A figure as its column shows it."""
    if name == "step":
        return str(value)
    return f"{value:.1e}" if name == "learning_rate" else f"{value:.2f}" if name == "epoch" else f"{value:.4f}"
