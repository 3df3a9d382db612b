"""metrics.jsonl: the log of a run, one JSON object per line, continued on resume without duplicate steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from flipkd.files import resource_errors, write_text

METRICS = "metrics.jsonl"
UNREADABLE = 2**62  # larger than every step: the step of a line that a killed run left incomplete


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """Write every logged line to `metrics.jsonl`; lines after the resumed step are removed, so that no step is duplicated."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Keep the lines up to the step of the resumed checkpoint."""
        if not state.is_world_process_zero:
            return
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in lines if _step(line) <= state.global_step]
        write_text(self.path, "".join(line + "\n" for line in kept))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_unused: Any
    ) -> None:
        """Append one line."""
        if state.is_world_process_zero and logs is not None:
            with resource_errors(self.path), self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def read_totals(path: Path) -> dict[str, float]:
    """Return the totals of the run from its `metrics.jsonl`; empty if the run was killed before it wrote them."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in reversed(lines):
        if _step(line) < UNREADABLE and "train_runtime" in (values := json.loads(line)):
            return {name: float(value) for name, value in values.items() if name != "step"}
    return {}


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return UNREADABLE
