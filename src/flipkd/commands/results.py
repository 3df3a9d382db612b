"""Results as text: tables, CSV and the command line; and the check that an output path is writable."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flipkd.errors import ResourceError, UsageError
from flipkd.figures import figure
from flipkd.files import refuse_special, resource_errors

START = 2**24  # bytes at the start of an existing file in which the mark of a result is searched
REPORT = "by flipkd</title>"  # mark of a page of flipkd.report
TABLES = (".csv", ".jsonl", ".parquet")


def command_line() -> str:
    """Return the command line of this process: flipkd, or the name of a user's script, and its arguments."""
    name = Path(sys.argv[0]).name
    return shlex.join(["flipkd" if name == "__main__.py" else name, *sys.argv[1:]])


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, readable in a terminal too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)])


def csv_text(header: Sequence[str] | None, rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV text that reads back with the same cells; None is an empty cell. Without a header: a later part of a file."""
    out = io.StringIO(newline="")
    plain = csv.writer(out, lineterminator="\n")
    quoting = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in [*([] if header is None else [header]), *rows]:
        # With this line terminator Python 3.11 does not quote a lone \r, and readers treat it as the end of the line.
        has_return = any("\r" in cell for cell in row if isinstance(cell, str))
        (quoting if has_return else plain).writerow(row)
    return out.getvalue()


def require_writable(path: str | Path, *, source: str | None = None, mark: str = "") -> None:
    """Check before the work that a result can be written to `path`.

    `mark` is in every result of the command, as a column of a table or a text in another file; a file without it is kept.
    Raises ResourceError for such a file and for a path that cannot be written, UsageError when it would overwrite the input
    file `source`.
    """
    if source is not None and Path(path).exists() and Path(source).exists() and Path(path).samefile(source):
        raise UsageError(f"{path}: is the input file; choose another output path")
    folder = Path(path).parent
    with resource_errors(Path(path)):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        refuse_special(Path(path))
        if Path(path).is_file() and Path(path).stat().st_size and not _has_mark(Path(path), mark):
            raise ResourceError(
                f"{path}: exists and is no earlier result of this command; choose another path, or delete the file first"
            )


def _has_mark(path: Path, mark: str) -> bool:
    """Return whether a table has a column of that name, or another file that text; an empty mark is in every file.

    The texts of a table do not count: the user's own pairs may speak of a decision or an origin.
    """
    is_table = mark and path.suffix in TABLES
    with open(path, "rb") as file:
        start = file.readline(START) if is_table else file.read(START)
    if not is_table:
        return mark.encode() in start
    import pyarrow as pa
    import pyarrow.parquet as pq

    line = start.decode("utf-8", "replace").removesuffix("\n")
    try:
        if path.suffix == ".parquet":
            return mark in pq.read_schema(path).names
        return mark in (json.loads(line) if path.suffix == ".jsonl" else next(csv.reader([line])))
    except (ValueError, TypeError, RecursionError, StopIteration, csv.Error, pa.ArrowException):
        return False  # no table of ours


def require_new(path: str | Path, *, source: str | None = None) -> None:
    """Check before the work that a result can be written to `path` and replaces nothing: no mark tells it from other files.

    Raises ResourceError for a file that exists, and the errors of `require_writable`.
    """
    require_writable(path, source=source)
    if Path(path).is_file() and Path(path).stat().st_size:
        raise ResourceError(f"{path}: exists and is not replaced; choose another path, or delete the file first")


def metrics_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of metrics with one row per metric and one column per split."""
    names = list(next(iter(measured.values())))
    rows = [[name, *(figure(metrics[name], 4) for metrics in measured.values())] for name in names]
    return text_table(["metric", *measured], rows)


def calibration_text(report: Mapping[str, Any]) -> str:
    """Return a readable report of a calibration on the pairs it was fitted on."""
    metrics = report["metrics"]
    lines = [metrics_table({"validation": metrics}), ""]
    lines.append(
        f"precision: {_count_text(report['precision'])} pairs decided as match are matches{_interval_text(report['precision'])}"
    )
    if "reviewed" in metrics:
        lines.append(f"review: {metrics['reviewed']:.1%} of the pairs")
        lines.append(
            f"kept: {_count_text(report['kept'])} matches are decided as match or go to review{_interval_text(report['kept'])}"
        )
    if "base_rate" in report:
        rate = report["base_rate"]
        lines.append(
            f"base rate: {rate['stated']:.3%} instead of {rate['validation']:.3%} in these pairs; then expect precision "
            f"{rate['precision']:.4f}, recall {rate['recall']:.4f}, {rate['reviewed']:.1%} to review"
        )
    if "cascade" in report:
        fit = report["cascade"]
        lines.append(
            f"cascade: the teacher alone decides {fit['share']:.1%} of the pairs; F1 {fit['f1']:.4f}, and "
            f"{fit['f1_all_read']:.4f} when the language model scores all"
        )
    return "\n".join(lines)


def comparison_text(found: Mapping[str, Any]) -> str:
    """Return a readable report of the comparison of an export with its matcher."""
    compared = found["pairs"] - found["truncated"]
    rows = [
        ["pairs", f"{found['pairs']}"],
        ["token ids equal", f"{found['ids_equal']} of {compared}"],
        [
            "largest difference of scores",
            f"{found['largest_difference']:.3g} (bound {found['bounds']['difference']:.3g})",
        ],
        ["mean difference of scores", f"{found['mean_difference']:.3g}"],
        ["standard deviation of the scores", f"{found['spread']:.3g}"],
        ["Spearman", f"{found['spearman']:.4f} (bound {found['bounds']['spearman']:.4f} from 50 pairs on)"],
        ["decisions flipped", f"{found['flipped']}"],
    ]
    if found["noise"]:
        noise = found["noise"]
        text = f"largest difference {noise['largest_difference']:.3g}, Spearman {noise['spearman']:.4f}"
        rows.append(["the matcher itself, one pair per pass", text])
    if found["truncated"]:
        cut = found["largest_difference_truncated"]
        rows.append(["pairs with a truncated text", f"{found['truncated']}, largest difference {cut:.3g}"])
    if found["average_precision"]:
        rows += [[f"AP of the {name}", f"{value:.4f}"] for name, value in found["average_precision"].items()]
    return text_table(["comparison", "value"], rows)


def _count_text(found: Mapping[str, Any]) -> str:
    return f"{found['hits']} of {found['n']}"


def _interval_text(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f" (95 % interval {low:.3f} to {high:.3f})"
