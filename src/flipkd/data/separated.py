"""csv and tsv files, row by row, with every byte of a cell kept and every fault placed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flipkd.data.dialect import SEPARATORS, Dialect, find_dialect
from flipkd.data.lines import Lines
from flipkd.data.readers import CELL_LIMIT, Batch, Source, batched, log_once, refuse_repeats
from flipkd.errors import DataError, shorten


def open_separated(path: Path, expected: str) -> Source:
    """A csv or tsv file with a header line; another separator than its name says is told. Raises DataError at a fault."""
    dialect = find_dialect(path, expected)
    header = next(_records(path, dialect), None)
    if header is None:
        raise DataError(f"{path}: holds blank lines only, no header and no rows")
    names = header[1]
    if any("\0" in name for name in names):
        raise DataError(f"{path}: header holds NUL characters: perhaps UTF-16 without its mark; convert it to UTF-8")
    if dialect.separator != expected:
        read_as = SEPARATORS.get(dialect.separator, shorten(dialect.separator))
        log_once(f"{path}: its fields are separated by {read_as}, not by {SEPARATORS[expected]}; read so")

    def batches(texts: list[str], others: list[str]) -> Iterator[Batch]:
        """As `Source` says."""
        wanted = [*texts, *others]
        refuse_repeats(str(path), names, wanted)
        records = _records(path, dialect)
        next(records)
        places = [names.index(name) for name in wanted]
        return batched((line, [cells[place] for place in places]) for line, cells in records)

    return Source(str(path), names, batches, "has a header line but no rows", dialect.separator == ";")


def _records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of the header and of every row; blank lines and lines of separators alone are no rows."""
    lines = Lines(path)
    source = iter(lines)
    for _ in range(dialect.skipped):
        next(source)
    reader = csv.reader(source, delimiter=dialect.separator, strict=True)
    row, width, named = 0, 0, 0
    skipped: list[int] = []  # lines
    while True:
        lines.begin(row)
        cells = _next_cells(reader, lines)
        if cells is None:
            if skipped:
                log_once(
                    f"{path}: rows that hold nothing but separators are skipped: {len(skipped)}, first line {skipped[0]}"
                )
            return
        if not cells:
            continue
        if len(cells) > 1 and not "".join(lines.seen).strip(f"{dialect.separator} \t\r\n"):
            skipped.append(lines.start)
            continue
        if not width:
            width = len(cells)
            named = max((place for place, name in enumerate(cells, 1) if name.strip()), default=width)
        if dialect.separator == "\t" and _joined(lines.seen, width):
            raise DataError(
                f"{lines.place()}: double quotes join {len(lines.seen)} lines, each of which has {width} fields by "
                'itself; if quotes mean nothing in this file, put such fields in double quotes and write theirs twice ("")'
            )
        if not named <= len(cells) <= width:
            raise DataError(
                f"{lines.place()}: {len(cells)} fields where the header has {width}; "
                "put a field that holds the separator or a line break in double quotes"
            )
        # Excel ends some rows before the nameless columns at the end.
        yield lines.start, cells + [""] * (width - len(cells))
        row += 1


def _joined(seen: list[str], width: int) -> bool:
    """Whether these lines look like rows of their own, of a tsv file that knows no quotes, and not like one quoted row."""
    rows = len(seen) > 1 and all(line.count("\t") == width - 1 for line in seen)
    return rows and not seen[0].startswith('"')  # a writer that quotes all fields begins so


def _next_cells(reader: Any, lines: Lines) -> list[str] | None:
    earlier = csv.field_size_limit(CELL_LIMIT)  # process-wide, so it is put back after every row
    try:
        cells: list[str] | None = next(reader, None)
    except csv.Error as error:
        raise DataError(f"{lines.place()}: {_explained(error)}") from None
    finally:
        csv.field_size_limit(earlier)
    return cells


def _explained(error: csv.Error) -> str:
    text = str(error)
    if "field limit" in text:
        return f"a cell is longer than {CELL_LIMIT:,} characters; is a double quote left open?"
    if "unexpected end of data" in text:
        return "a double quote opens here and is never closed"
    if "expected after" in text:
        return 'text after a closing double quote; inside a quoted cell a double quote is written twice ("")'
    return text
