"""Table of a comparison: means over seeds on the test pairs, their intervals, and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flipkd.commands.results import text_table
from flipkd.evaluate.compare import mean_interval

METRIC_LABELS = {"f1": "F1", "average_precision": "AP", "accuracy": "accuracy", "roc_auc": "AUC", "ece": "ECE"}
CHOSEN_PER_SEED = "chosen"


def results_table(results: Sequence[dict[str, Any]]) -> str:
    """Return a table with one row per (data, system, kind of score) on test; for several seeds mean ± half a 95 % interval."""
    rows = []
    for key in dict.fromkeys((r["data"], r["name"], _overrides(r)) for r in results):
        runs = [r for r in results if (r["data"], r["name"], _overrides(r)) == key]
        kinds = {kind: kind for r in runs for kind in r["by_score"]}
        chosen = {r["score"] for r in runs}
        if len(chosen) == 1 < len(kinds):
            kinds = {kind: f"{kind}*" if kind in chosen else kind for kind in kinds}
        elif len(chosen) > 1:  # per seed the score chosen for it: the result of the system
            kinds[CHOSEN_PER_SEED] = f"{CHOSEN_PER_SEED}*"
        rows += [_row(runs, kind, [*key[:2], shown]) for kind, shown in kinds.items()]
    header = ["data", "system", "score", *METRIC_LABELS.values(), "seeds", "seconds", "GiB"]
    note = "\n\n(* chosen on validation)" if any("*" in row[2] for row in rows) else ""
    return text_table(header, rows) + note


def _row(results: Sequence[dict[str, Any]], kind: str, begin: list[str]) -> list[str]:
    """Return the row of one kind of score over the seeds that have it; begin: the first cells."""
    kinds = [result["score"] if kind == CHOSEN_PER_SEED else kind for result in results]
    runs = [(result, own) for result, own in zip(results, kinds, strict=True) if own in result["by_score"]]
    cells = [_cell([run["by_score"][own]["test"][metric] for run, own in runs]) for metric in METRIC_LABELS]
    seconds = f"{np.mean([run['seconds'] for run, _ in runs]):.0f}"
    memory = f"{max(run['peak_memory_bytes'] for run, _ in runs) / 2**30:.1f}"
    return [*begin, *cells, str(len(runs)), seconds, memory]


def _overrides(result: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(result["overrides"].items()))


def _cell(values: Sequence[float]) -> str:
    if len(set(values)) == 1:  # one seed, or a system that does not depend on it: no spread
        return f"{values[0]:.3f}"
    interval = mean_interval(values)
    return f"{interval['mean']:.3f} ± {(interval['high'] - interval['low']) / 2:.3f}"
