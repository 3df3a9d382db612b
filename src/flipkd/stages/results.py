"""Results for people: a comparison as a table (mean over seeds on the test pairs, spread, cost), any table as text."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.errors import UsageError
from flipkd.evaluate.compare import mean_interval
from flipkd.files import refuse_special, resource_errors

SHOWN = {
    "f1": "F1",
    "average_precision": "AP",
    "accuracy": "accuracy",
    "roc_auc": "AUC",
    "ece": "ECE",
}
EACH_ITS_OWN = "chosen"


def results_table(results: Sequence[dict[str, Any]]) -> str:
    """One row per (data, system, kind of score) on test; with several seeds, means and the 95 % interval's half width."""
    rows = []
    for key in dict.fromkeys((r["data"], r["name"], _overrides(r)) for r in results):
        units = [r for r in results if (r["data"], r["name"], _overrides(r)) == key]
        kinds = {kind: kind for r in units for kind in r["by_score"]}
        chosen = {r["score"] for r in units}
        if len(chosen) == 1 < len(kinds):
            kinds = {kind: f"{kind}*" if kind in chosen else kind for kind in kinds}
        elif len(chosen) > 1:  # each seed by the score that was chosen for it: the system's own figure
            kinds[EACH_ITS_OWN] = f"{EACH_ITS_OWN}*"
        rows += [_row(units, kind, [*key[:2], shown]) for kind, shown in kinds.items()]
    header = ["data", "system", "score", *SHOWN.values(), "seeds", "seconds", "GiB"]
    note = "\n\n(* chosen on validation)" if any("*" in row[2] for row in rows) else ""
    return text_table(header, rows) + note


def _row(results: Sequence[dict[str, Any]], kind: str, begin: list[str]) -> list[str]:
    """One kind of score over the seeds that have it, behind the first cells."""
    kinds = [result["score"] if kind == EACH_ITS_OWN else kind for result in results]
    units = [(result, own) for result, own in zip(results, kinds, strict=True) if own in result["by_score"]]
    cells = [_cell([unit["by_score"][own]["test"][metric] for unit, own in units]) for metric in SHOWN]
    seconds = f"{np.mean([unit['seconds'] for unit, _ in units]):.0f}"
    memory = f"{max(unit['peak_memory_bytes'] for unit, _ in units) / 2**30:.1f}"
    return [*begin, *cells, str(len(units)), seconds, memory]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, which reads well in a terminal too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)])


def csv_text(header: Sequence[str] | None, rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file that reads back as it was, whatever is in the cells; None is an empty cell. No header: a later part of one."""
    out = io.StringIO(newline="")
    plain = csv.writer(out, lineterminator="\n")
    quoting = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in [*([] if header is None else [header]), *rows]:
        # With this line end Python 3.11 leaves a lone \r without quotes, and readers take it for the end of the line.
        has_return = any("\r" in cell for cell in row if isinstance(cell, str))
        (quoting if has_return else plain).writerow(row)
    return out.getvalue()


def require_writable(path: str | Path, *, source: str | None = None) -> None:
    """Raise ResourceError before the work rather than after it when a result cannot be written to `path`.

    UsageError when it would take the place of `source`, the file that is read.
    """
    if source is not None and Path(path).exists() and Path(source).exists() and Path(path).samefile(source):
        raise UsageError(f"{path}: is the file that is read; choose another name for the result")
    folder = Path(path).parent
    with resource_errors(Path(path)):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        refuse_special(Path(path))


def _overrides(result: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(result["overrides"].items()))


def _cell(values: Sequence[float]) -> str:
    if len(set(values)) == 1:  # one seed, or a system that has no use for it: there is no spread to tell
        return f"{values[0]:.3f}"
    interval = mean_interval(values)
    return f"{interval['mean']:.3f} ± {(interval['high'] - interval['low']) / 2:.3f}"


def metrics_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Metrics as rows, one column per kind of pairs."""
    names = list(next(iter(measured.values())))
    rows = [[name, *(f"{metrics[name]:.4g}" for metrics in measured.values())] for name in names]
    return text_table(["metric", *measured], rows)


def calibration_text(report: Mapping[str, Any]) -> str:
    """What a calibration reached on the pairs that it was fitted on, for people."""
    metrics = report["metrics"]
    lines = [metrics_table({"validation": metrics}), ""]
    lines.append(
        f"of the pairs called a match, {_counted(report['precision'])} are one{_interval(report['precision'])}"
    )
    if "reviewed" in metrics:
        lines.append(f"for review: {metrics['reviewed']:.1%} of the pairs")
        lines.append(
            f"of all matches, {_counted(report['kept'])} are called one or go to review{_interval(report['kept'])}"
        )
    if "cascade" in report:
        fit = report["cascade"]
        lines.append(
            f"cascade: the teacher alone decides {fit['share']:.1%} of the pairs; F1 {fit['f1']:.4f}, "
            f"{fit['f1_all_read']:.4f} when the language model reads all"
        )
    return "\n".join(lines)


def _counted(found: Mapping[str, Any]) -> str:
    return f"{found['hits']} of {found['n']}"


def _interval(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f" (95 % interval {low:.3f} to {high:.3f})"
