"""read_records and read_texts: a text for each record of a file, from one column or several, and other columns as JSON values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from flipkd.data.readers import Source
from flipkd.data.sources import as_array, checked, location_of, open_source, plain, readable, require_columns
from flipkd.errors import DataError, shorten
from flipkd.text import is_empty

ALIASES = ("text", "question", "title", "document", "sentence")


@dataclass(frozen=True)
class Records:
    """The n records of a file: a text of each, and the values of other columns by the file's names."""

    name: str
    texts: list[str]
    columns: dict[str, list[Any]]
    text: Sequence[str] = ()
    """The columns of the texts."""

    def __len__(self) -> int:
        return len(self.texts)

    def keys(self, column: str) -> list[str | None]:
        """Return the values of a column as texts; None for a value without a visible character."""
        return [as_text(value) for value in self.columns[column]]


def as_text(value: Any) -> str | None:
    """Return a JSON value as a text; None when it has no visible character."""
    return None if value is None or is_empty(text := str(value)) else text


def read_records(
    path: str | Path, *, text: Sequence[str] = (), columns: Collection[str] = (), hint: str = ""
) -> Records:
    """Read the records of a file in their order.

    text: the column of the texts; several are joined as `NAME: VALUE; NAME: VALUE` without the empty ones; none: the column
    with a common name, or the only one; hint: what else the error of a missing column says. Raises DataError with file, row and
    column for a record without a text, a text that is not valid, and a missing column.
    """
    with readable(path):
        source = open_source(path)
        require_columns(source, [*text, *columns], hint=hint)
        names = list(text) or [_text_column(source)]
        alone = names if len(names) == 1 else []  # its type is checked; columns to join may hold numbers
        others = [name for name in dict.fromkeys([*names, *columns]) if name not in alone]
        texts: list[str] = []
        kept: dict[str, list[Any]] = {name: [] for name in columns}
        for batch in source.batches(alone, others):
            values = dict(zip([*alone, *others], batch.values, strict=True))
            plain_values = {name: [*map(plain, values[name])] for name in others}
            location = partial(location_of, source.name, batch, "+".join(names))
            found = values[names[0]] if alone else _joined(plain_values, names)
            texts += _not_empty(checked(found, location), location)
            for name, column in kept.items():
                column += plain_values.get(name, found)
    source.require_rows(len(texts))
    return Records(source.name, texts, kept, names)


def read_texts(
    path: str | Path, *, column: str | None = None, keep: Collection[str] = ()
) -> tuple[list[str], dict[str, list[Any]]]:
    """Read the texts of one column, as `read_records` does, and the columns `keep` beside it."""
    records = read_records(path, text=[] if column is None else [column], columns=keep)
    return records.texts, {name: values for name, values in records.columns.items() if name not in records.text}


def _text_column(source: Source) -> str:
    """Return the column with a name in ALIASES, or the only one. Raises DataError with the columns."""
    columns = source.columns
    found = list(dict.fromkeys(present for alias in ALIASES for present in columns if present.lower() == alias))
    if len(found) == 1 or len(columns) == 1:
        return (found or columns)[0]
    many = "several possible text columns" if found else "no known text column"
    raise DataError(
        f"{source.name}: has {many}; name it text, or choose it with --text where the command has this option "
        f"(columns: {', '.join(map(shorten, columns[:20]))})"
    )


def _not_empty(values: list[str], location: Callable[[int], str]) -> list[str]:
    """Return the texts if each is valid Unicode with a visible character. Raises DataError with the location of another."""
    as_array(values, pa.string(), location)
    if empty := [index for index, value in enumerate(values) if is_empty(value)]:
        raise DataError(f"{location(empty[0])}: the text is empty; fill or remove it")
    return values


def _joined(values: dict[str, list[Any]], names: Sequence[str]) -> list[str]:
    rows = zip(*([as_text(value) for value in values[name]] for name in names), strict=True)
    return [
        "; ".join(f"{name}: {value}" for name, value in zip(names, row, strict=True) if value is not None)
        for row in rows
    ]


def unique_rows(records: Records, column: str) -> dict[str, int]:
    """Return the row (from 0) of each id in a column. Raises DataError for an id that is empty or occurs twice."""
    rows: dict[str, int] = {}
    for row, key in enumerate(records.keys(column)):
        if key is None:
            raise DataError(f"{records.name}: row {row + 1}, column {shorten(column)}: the id is empty; fill it")
        if key in rows:
            raise DataError(
                f"{records.name}: the id {shorten(key)} of column {shorten(column)} is in rows {rows[key] + 1} and {row + 1}; "
                "ids must be unique"
            )
        rows[key] = row
    return rows


def required_values(values: list[Any], *, path: str | Path, column: str) -> list[str]:
    """Return the values of a column as texts. Raises DataError for a missing or empty one."""
    found = ["" if value is None else str(value) for value in values]
    for row, value in enumerate(found, start=1):
        if is_empty(value):
            raise DataError(f"{path}: row {row}, column {column}: is empty; fill it, or remove the row")
    return found
