"""Reader of csv and tsv files: cells are not changed, and errors give row and line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flipkd.data.dialect import SEPARATORS, Dialect, find_dialect
from flipkd.data.lines import Lines
from flipkd.data.readers import CELL_LIMIT, Batch, Source, batched, log_once, refuse_duplicate_columns
from flipkd.errors import DataError, shorten


def open_separated(path: Path, expected: str) -> Source:
    """Open a csv or tsv file with a header line; log a warning if its separator is not `expected`. Raises DataError."""
    dialect = find_dialect(path, expected)
    header = next(_records(path, dialect), None)
    if header is None:
        raise DataError(f"{path}: contains only blank lines, no header and no rows")
    names = header[1]
    if any("\0" in name for name in names):
        raise DataError(
            f"{path}: the header contains NUL characters: perhaps UTF-16 without byte order mark, or a binary file; "
            "convert it to UTF-8"
        )
    if dialect.separator != expected:
        read_as = SEPARATORS.get(dialect.separator, shorten(dialect.separator))
        log_once(f"{path}: the fields are separated by {read_as}, not by {SEPARATORS[expected]}; read with {read_as}")
    if dialect.spaced:
        log_once(f"{path}: a space follows each separator of the header; spaces after separators are not read")

    def batches(texts: list[str], others: list[str]) -> Iterator[Batch]:
        """Read the rows, as in `Source`."""
        wanted = [*texts, *others]
        refuse_duplicate_columns(str(path), names, wanted)
        records = _records(path, dialect)
        next(records)
        positions = [names.index(name) for name in wanted]
        return batched((line, [cells[position] for position in positions]) for line, cells in records)

    return Source(str(path), names, batches, "has a header line but no rows", dialect.separator == ";")


def _records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of the header and of each row; blank lines and lines of separators only are skipped."""
    lines = Lines(path)
    source = iter(lines)
    for _ in range(dialect.skipped):
        next(source)
    reader = csv.reader(source, delimiter=dialect.separator, skipinitialspace=dialect.spaced, strict=True)
    row, width, named = 0, 0, 0
    skipped: list[int] = []  # lines
    while True:
        lines.begin(row)
        cells = _next_cells(reader, lines)
        if cells is None:
            if skipped:
                log_once(f"{path}: rows with only separators are skipped: {len(skipped)}, first line {skipped[0]}")
            return
        if not cells:
            continue
        if len(cells) > 1 and not "".join(lines.row_lines).strip(f"{dialect.separator} \t\r\n"):
            skipped.append(lines.start)
            continue
        if not width:
            width = len(cells)
            named = max((position for position, name in enumerate(cells, 1) if name.strip()), default=width)
        if dialect.separator == "\t" and _joins_rows(lines.row_lines, width):
            raise DataError(
                f"{lines.location()}: double quotes join {len(lines.row_lines)} lines, each of which alone has {width} fields; "
                'if quotes have no meaning in this file, put such fields in double quotes and double the quotes inside ("")'
            )
        if not named <= len(cells) <= width:
            raise DataError(
                f"{lines.location()}: {len(cells)} fields, but the header has {width}; "
                "put a field that contains the separator or a line break in double quotes"
            )
        # Excel omits trailing columns without a name in some rows.
        yield lines.start, cells + [""] * (width - len(cells))
        row += 1


def _joins_rows(seen: list[str], width: int) -> bool:
    """Whether these lines look like separate rows of a tsv file without quoting, not like one quoted row."""
    rows = len(seen) > 1 and all(line.count("\t") == width - 1 for line in seen)
    return rows and not seen[0].startswith('"')  # a writer that quotes all fields starts a row like this


def _next_cells(reader: Any, lines: Lines) -> list[str] | None:
    earlier = csv.field_size_limit(CELL_LIMIT)  # a process-wide setting, so it is restored after every row
    try:
        cells: list[str] | None = next(reader, None)
    except csv.Error as error:
        raise DataError(f"{lines.location()}: {_explained(error)}") from None
    finally:
        csv.field_size_limit(earlier)
    return cells


def _explained(error: csv.Error) -> str:
    text = str(error)
    if "field limit" in text:
        return f"a cell is longer than {CELL_LIMIT:,} characters; is a closing double quote missing?"
    if "unexpected end of data" in text:
        return "a double quote is opened here and never closed"
    if "expected after" in text:
        return 'text after a closing double quote; write a double quote inside a quoted cell twice ("")'
    return text
