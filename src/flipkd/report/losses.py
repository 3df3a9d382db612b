"""Losses of a training run, from its metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MAX_POINTS = 200  # steps


def read_losses(metrics: Path, objectives: Iterable[str]) -> list[dict[str, Any]]:
    """Read rows of step, objective and value in the order of the steps; empty without a file.

    A resumed run may have duplicate steps: the later line counts.
    """
    if not metrics.is_file():
        return []
    steps: dict[int, dict[str, float]] = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
            steps[int(values["step"])] = {name: float(values[name]) for name in objectives if name in values}
        except (ValueError, KeyError, TypeError):  # a line that a stop cut off
            continue
    kept = sorted(step for step, values in steps.items() if values)
    kept = kept[:: -(-len(kept) // MAX_POINTS) or 1]
    return [{"step": step, "objective": name, "value": value} for step in kept for name, value in steps[step].items()]
