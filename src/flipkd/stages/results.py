"""Results for people: a comparison as a table (mean over seeds on the test pairs, spread, cost), any table as text."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.evaluate.compare import mean_interval
from flipkd.files import resource_errors

SHOWN = {
    "f1": "F1",
    "average_precision": "AP",
    "accuracy": "accuracy",
    "roc_auc": "AUC",
    "ece": "ECE",
}


def results_table(results: Sequence[dict[str, Any]]) -> str:
    """One row per (data, system, kind of score) on test; with several seeds, means and the 95 % interval's half width."""
    rows = []
    for key in dict.fromkeys((r["data"], r["name"], _overrides(r), s) for r in results for s in r["by_score"]):
        data, name, _, score = key
        units = [r for r in results if (r["data"], r["name"], _overrides(r)) == key[:3] and score in r["by_score"]]
        cells = [_cell([u["by_score"][score]["test"][metric] for u in units]) for metric in SHOWN]
        seconds = f"{np.mean([u['seconds'] for u in units]):.0f}"
        memory = f"{max(u['peak_memory_bytes'] for u in units) / 2**30:.1f}"
        chosen = "*" if all(u["score"] == score for u in units) and len(units[0]["by_score"]) > 1 else ""
        rows.append([data, name, score + chosen, *cells, str(len(units)), seconds, memory])
    header = ["data", "system", "score", *SHOWN.values(), "seeds", "seconds", "GiB"]
    note = "\n\n(* chosen on validation)" if any("*" in row[2] for row in rows) else ""
    return text_table(header, rows) + note


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, which reads well in a terminal too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)])


def require_writable(path: str | Path) -> None:
    """Raise ResourceError before the work rather than after it when a result cannot be written to `path`."""
    folder = Path(path).parent
    with resource_errors(Path(path)):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        if Path(path).is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))


def _overrides(result: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(result["overrides"].items()))


def _cell(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    interval = mean_interval(values)
    return f"{interval['mean']:.3f} ± {(interval['high'] - interval['low']) / 2:.3f}"


def metrics_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Metrics as rows, one column per kind of pairs."""
    names = list(next(iter(measured.values())))
    rows = [[name, *(f"{metrics[name]:.4g}" for metrics in measured.values())] for name in names]
    return text_table(["metric", *measured], rows)
