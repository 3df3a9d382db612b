"""read_records: a text for each record of a file, from one column or several, and other columns as JSON values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flipkd.data.sources import checked, location_of, open_source, plain, readable, require_columns
from flipkd.data.texts import not_empty, text_column
from flipkd.errors import DataError, shorten
from flipkd.text import is_empty


@dataclass(frozen=True)
class Records:
    """The n records of a file: a text of each, and the values of other columns by the file's names."""

    name: str
    texts: list[str]
    columns: dict[str, list[Any]]

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
        names = list(text) or [text_column(source, None)]
        alone = names if len(names) == 1 else []  # its type is checked; columns to join may hold numbers
        others = [name for name in dict.fromkeys([*names, *columns]) if name not in alone]
        texts: list[str] = []
        kept: dict[str, list[Any]] = {name: [] for name in columns}
        for batch in source.batches(alone, others):
            values = dict(zip([*alone, *others], batch.values, strict=True))
            plain_values = {name: [*map(plain, values[name])] for name in others}
            location = partial(location_of, source.name, batch, "+".join(names))
            found = values[names[0]] if alone else _joined(plain_values, names)
            texts += not_empty(checked(found, location), location)
            for name in columns:
                kept[name] += plain_values.get(name, found)
    if not texts:
        raise DataError(f"{source.name}: {source.empty}")
    return Records(source.name, texts, kept)


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
