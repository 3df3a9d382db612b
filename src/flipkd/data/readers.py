"""Text files of pairs, row by row: csv, tsv and jsonl, with every byte of a cell kept and every fault placed."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flipkd.errors import DataError, shorten

CELL_LIMIT = 10_000_000  # characters of one cell
LINE_LIMIT = 128 * 2**20  # bytes of one line: room for three cells of the longest kind
BATCH_ROWS = 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONE_RETURN = re.compile(r"(?<=\r)(?!\n)")


@dataclass(frozen=True)
class Batch:
    """Consecutive rows: one list of values per column asked for, the first row's number, the lines they start on."""

    values: list[list[Any]]
    first_row: int
    lines: list[int]

    def place(self, index: int) -> str:
        """Where a row of this batch stands, as it is written in errors."""
        line = f" (line {self.lines[index]})" if self.lines else ""
        return f"row {self.first_row + index}{line}"


@dataclass(frozen=True)
class Source:
    """A file or data set whose column names are known and whose rows are read when asked: `batches(texts, others)`.

    A batch has the columns of texts first, which must be of that type where columns have types, then the others.
    """

    name: str
    columns: list[str]
    batches: Callable[[list[str], list[str]], Iterator[Batch]]
    empty: str  # what to say when there is no row


class _Lines:
    """The lines of a UTF-8 file, byte order mark dropped, line ends kept; knows where the current row began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row = 0
        self.start = 1
        self.number = 0
        self.seen: list[str] = []  # of the current row

    def place(self) -> str:
        row = f"row {self.row}" if self.row else "header"
        return f"{self.path}: {row} (line {self.start})"

    def begin(self, row: int) -> None:
        self.row, self.start, self.seen = row, self.number + 1, []

    def __iter__(self) -> Iterator[str]:
        offset = 0
        with open(self.path, "rb") as handle:
            while raw := handle.readline(LINE_LIMIT + 1):
                if len(raw) > LINE_LIMIT:
                    raise DataError(
                        f"{self.place()}: the line is longer than {LINE_LIMIT:,} bytes; are its ends lost?"
                    )
                # A lone carriage return ends a line too, as in files of old spreadsheets.
                for part in filter(None, _LONE_RETURN.split(self._decoded(raw, offset))):
                    self.number += 1
                    self.seen.append(part)
                    yield part
                offset += len(raw)

    def _decoded(self, raw: bytes, offset: int) -> str:
        skipped = len(_BYTE_ORDER_MARK) if offset == 0 and raw.startswith(_BYTE_ORDER_MARK) else 0
        try:
            return raw[skipped:].decode("utf-8")
        except UnicodeDecodeError as error:
            byte = raw[skipped + error.start]
            if offset == 0 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                guess = "its byte order mark says UTF-16"
            else:
                guess = "perhaps Windows-1252 or Latin-1, or GB18030 if it is Chinese"
            place = f"byte offset {offset + skipped + error.start} (byte 0x{byte:02x})"
            raise DataError(
                f"{self.place()}: not UTF-8 at {place}: {guess}; "
                "convert it first, for instance with iconv -f ENCODING -t UTF-8"
            ) from None


def open_separated(path: Path, delimiter: str) -> Source:
    """A csv or tsv file with a header line. Raises DataError at its first fault."""
    header = next(_records(path, delimiter), None)
    if header is None:
        raise DataError(f"{path}: holds blank lines only, no header and no rows")
    names = header[1]
    refuse_repeats(str(path), names)
    if any("\0" in name for name in names):
        raise DataError(f"{path}: header holds NUL characters: perhaps UTF-16 without its mark; convert it to UTF-8")

    def batches(texts: list[str], others: list[str]) -> Iterator[Batch]:
        records = _records(path, delimiter)
        next(records)
        places = [names.index(name) for name in [*texts, *others]]
        return _batched((line, [cells[place] for place in places]) for line, cells in records)

    return Source(str(path), names, batches, "has a header line but no rows")


def refuse_repeats(name: str, columns: list[str]) -> None:
    """Raise DataError when two columns share a name, since either could be meant."""
    for column, times in Counter(columns).items():
        if times > 1:
            raise DataError(f"{name}: the column {shorten(column)} stands there {times} times; rename all but one")


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of the header and of every row; blank lines between rows are no rows."""
    lines = _Lines(path)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    row, width = 0, 0
    while True:
        lines.begin(row)
        cells = _next_cells(reader, lines)
        if cells is None:
            return
        if not cells:
            continue
        width = width or len(cells)
        if delimiter == "\t" and _joined(lines.seen, width):
            raise DataError(
                f"{lines.place()}: double quotes join {len(lines.seen)} lines, each of which has {width} fields by "
                'itself; if quotes mean nothing in this file, put such fields in double quotes and write theirs twice ("")'
            )
        if len(cells) != width:
            raise DataError(
                f"{lines.place()}: {len(cells)} fields where the header has {width}; "
                "put a field that holds the separator or a line break in double quotes"
            )
        yield lines.start, cells
        row += 1


def _joined(seen: list[str], width: int) -> bool:
    """Whether these lines look like rows of their own, of a tsv file that knows no quotes, and not like one quoted row."""
    rows = len(seen) > 1 and all(line.count("\t") == width - 1 for line in seen)
    return rows and not seen[0].startswith('"')  # a writer that quotes all fields begins so


def _next_cells(reader: Any, lines: _Lines) -> list[str] | None:
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


def open_json_lines(path: Path) -> Source:
    """A file with one JSON object per line. Raises DataError at its first fault."""
    columns: dict[str, None] = {}
    for _, record in _objects(path):
        columns.update(dict.fromkeys(record))
    if not columns:
        raise DataError(f"{path}: holds no rows, only blank lines or empty objects")

    def batches(texts: list[str], others: list[str]) -> Iterator[Batch]:
        wanted = [*texts, *others]
        return _batched((line, [record.get(name) for name in wanted]) for line, record in _objects(path))

    return Source(str(path), list(columns), batches, "has no rows")


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = _Lines(path)
    row = 1
    lines.begin(row)
    for line in lines:
        if line.strip():
            yield lines.start, _object(line, lines)
            row += 1
        lines.begin(row)


def _object(line: str, lines: _Lines) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise DataError(f"{lines.place()}: JSON nested too deeply; a row is a flat object") from None
    except json.JSONDecodeError as error:
        cut = "" if line.endswith("\n") else "; it is the last line, so the file may be cut off"
        raise DataError(f"{lines.place()}: not JSON at character {error.pos + 1}: {error.msg}{cut}") from None
    except _RepeatedKeyError as error:
        raise DataError(f"{lines.place()}: the key {shorten(error.args[0])} stands twice in one object") from None
    except ValueError:
        # Python refuses integers of more than 4,300 digits.
        raise DataError(f"{lines.place()}: a number has too many digits to be read") from None
    if not isinstance(record, dict):
        raise DataError(
            f"{lines.place()}: a JSON {type(record).__name__} where an object is expected: one object per line, "
            'such as {"text1": "...", "text2": "...", "label": 1}'
        )
    return record


class _RepeatedKeyError(Exception):
    pass


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(next(name for name in names if names.count(name) > 1))
    return record


def _batched(rows: Iterator[tuple[int, list[Any]]]) -> Iterator[Batch]:
    first_row, lines, held = 1, [], []
    for line, values in rows:
        lines.append(line)
        held.append(values)
        if len(held) == BATCH_ROWS:
            yield Batch([list(column) for column in zip(*held, strict=True)], first_row, lines)
            first_row, lines, held = first_row + len(held), [], []
    if held:
        yield Batch([list(column) for column in zip(*held, strict=True)], first_row, lines)
