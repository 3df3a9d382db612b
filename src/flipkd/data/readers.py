"""Source, an input that is read in batches of rows; and the reader of JSON lines, whose errors give the row."""

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
_OPENINGS = ("{", "[", "[{")  # first lines of JSON that is not one object per line


@dataclass(frozen=True)
class Batch:
    """Consecutive rows: one list of values per requested column, the number of the first row, the first line of each row."""

    values: list[list[Any]]
    first_row: int
    lines: list[int]

    def location(self, index: int) -> str:
        """Location of a row of this batch, for errors."""
        line = f" (line {self.lines[index]})" if self.lines else ""
        return f"row {self.first_row + index}{line}"


@dataclass(frozen=True)
class Source:
    """A file or data set with known column names; `batches(texts, others)` reads its rows.

    A batch has the text columns first, then the others. Text columns of typed formats must have type string.
    """

    name: str
    columns: list[str]
    batches: Callable[[list[str], list[str]], Iterator[Batch]]
    empty: str  # error message if there are no rows
    decimal_comma: bool = False  # numbers may have a decimal comma, because semicolons separate the fields

    def require_rows(self, count: int) -> None:
        """Raise DataError when no row was read."""
        if not count:
            raise DataError(f"{self.name}: {self.empty}")


@cache
def log_once(message: str) -> None:
    """Log a warning once per process, even if the file is read several times."""
    logger.warning("%s", message)


def refuse_duplicate_columns(name: str, columns: list[str], used: list[str]) -> None:
    """Raise DataError if a used column name occurs more than once."""
    for column, times in Counter(columns).items():
        if times > 1 and column in used:
            raise DataError(f"{name}: duplicate column name {shorten(column)} ({times} times); rename all but one")


def open_json_lines(path: Path) -> Source:
    """Open a file with one JSON object per line. Raises DataError at the first error."""
    columns: dict[str, None] = {}
    for _, record in _objects(path):
        columns.update(dict.fromkeys(record))
    if not columns:
        raise DataError(f"{path}: contains no rows, only blank lines or empty objects")

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
        record = json.loads(line, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise DataError(f"{lines.location()}: JSON nested too deeply; a row is a flat object") from None
    except json.JSONDecodeError as error:
        hint = "" if line.endswith("\n") else "; it is the last line, so the file may be incomplete"
        hint = "; one line must hold the whole object" if line.strip() in _OPENINGS else hint
        if lines.row == 1 and not line.lstrip().startswith(("{", "[")):
            hint = "; if it is a table, name it .csv, or .tsv where tabs separate the fields"
        raise DataError(f"{lines.location()}: not JSON at character {error.pos + 1}: {error.msg}{hint}") from None
    except _DuplicateKeyError as error:
        raise DataError(f"{lines.location()}: duplicate key {shorten(error.args[0])} in one object") from None
    except ValueError:
        # Python does not parse integers of more than 4,300 digits.
        raise DataError(f"{lines.location()}: a number has too many digits") from None
    if not isinstance(record, dict):
        raise DataError(
            f"{lines.location()}: expected one JSON object per line, got a {type(record).__name__}; write "
            'such as {"text1": "...", "text2": "...", "label": 1}'
        )
    return record


class _DuplicateKeyError(Exception):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, value in pairs:
        if name in record:
            raise _DuplicateKeyError(name)
        record[name] = value
    return record


def batched(rows: Iterator[tuple[int, list[Any]]]) -> Iterator[Batch]:
    """Group rows (line number, values of the columns) into batches of BATCH_ROWS."""
    first_row, lines, rows_of_batch = 1, [], []
    for line, values in rows:
        lines.append(line)
        rows_of_batch.append(values)
        if len(rows_of_batch) == BATCH_ROWS:
            yield Batch([list(column) for column in zip(*rows_of_batch, strict=True)], first_row, lines)
            first_row, lines, rows_of_batch = first_row + len(rows_of_batch), [], []
    if rows_of_batch:
        yield Batch([list(column) for column in zip(*rows_of_batch, strict=True)], first_row, lines)
