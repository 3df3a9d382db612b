"""Results as text: tables, CSV, the command that made them; and the check that a result can be written."""

from __future__ import annotations

import csv
import errno
import io
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flipkd.errors import UsageError
from flipkd.files import refuse_special, resource_errors


def command_line() -> str:
    """The command that this process was started with; of a script of one's own, the script."""
    name = Path(sys.argv[0]).name
    return shlex.join(["flipkd" if name == "__main__.py" else name, *sys.argv[1:]])


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
