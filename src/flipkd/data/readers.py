"""Rows in batches, whatever they are read from; and JSON lines, row by row, with every fault placed."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flipkd.data.lines import Lines
from flipkd.errors import DataError, shorten

logger = logging.getLogger(__name__)

CELL_LIMIT = 10_000_000  # characters of one cell
BATCH_ROWS = 1024


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
    decimal_comma: bool = False  # whether numbers may have a comma for a point, as where semicolons separate fields


@cache
def log_once(message: str) -> None:
    """Log how a file is read, once however often it is."""
    logger.warning("%s", message)


def refuse_repeats(name: str, columns: list[str], used: list[str]) -> None:
    """Raise DataError when two columns share a name that is used, since either could be meant."""
    for column, times in Counter(columns).items():
        if times > 1 and column in used:
            raise DataError(f"{name}: the column {shorten(column)} stands there {times} times; rename all but one")


def open_json_lines(path: Path) -> Source:
    """A file with one JSON object per line. Raises DataError at its first fault."""
    columns: dict[str, None] = {}
    for _, record in _objects(path):
        columns.update(dict.fromkeys(record))
    if not columns:
        raise DataError(f"{path}: holds no rows, only blank lines or empty objects")

    def batches(texts: list[str], others: list[str]) -> Iterator[Batch]:
        wanted = [*texts, *others]
        return batched((line, [record.get(name) for name in wanted]) for line, record in _objects(path))

    return Source(str(path), list(columns), batches, "has no rows")


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = Lines(path)
    row = 1
    lines.begin(row)
    for line in lines:
        if line.strip():
            yield lines.start, _object(line, lines)
            row += 1
        lines.begin(row)


def _object(line: str, lines: Lines) -> dict[str, Any]:
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
    record: dict[str, Any] = {}
    for name, value in pairs:
        if name in record:
            raise _RepeatedKeyError(name)
        record[name] = value
    return record


def batched(rows: Iterator[tuple[int, list[Any]]]) -> Iterator[Batch]:
    """(Line, values of the columns) of each row as batches of BATCH_ROWS."""
    first_row, lines, held = 1, [], []
    for line, values in rows:
        lines.append(line)
        held.append(values)
        if len(held) == BATCH_ROWS:
            yield Batch([list(column) for column in zip(*held, strict=True)], first_row, lines)
            first_row, lines, held = first_row + len(held), [], []
    if held:
        yield Batch([list(column) for column in zip(*held, strict=True)], first_row, lines)
