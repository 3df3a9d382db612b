"""read_texts: read one column of texts and other columns, such as the questions of an FAQ with their answers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from flipkd.data.readers import Source
from flipkd.data.sources import as_array, checked, location_of, open_source, plain, readable, require_columns
from flipkd.errors import DataError, shorten
from flipkd.text import is_empty

ALIASES = ("text", "question", "title", "document", "sentence")


def read_texts(
    path: str | Path, *, column: str | None = None, keep: Collection[str] = ()
) -> tuple[list[str], dict[str, list[Any]]]:
    """Read the texts of a file, in order and byte for byte, and its columns `keep` as JSON values.

    `column` None: the column with a name in ALIASES, or the only one. Raises DataError with file, row and column for an
    empty text, a value that is not a text and a missing column.
    """
    with readable(path):
        source = open_source(path)
        text = text_column(source, column)
        require_columns(source, keep)
        others = [name for name in dict.fromkeys(keep) if name != text]
        texts: list[str] = []
        kept: dict[str, list[Any]] = {name: [] for name in others}
        for batch in source.batches([text], others):
            location = partial(location_of, source.name, batch, text)
            texts += not_empty(checked(batch.values[0], location), location)
            for name, values in zip(others, batch.values[1:], strict=True):
                kept[name] += map(plain, values)
    if not texts:
        raise DataError(f"{source.name}: {source.empty}")
    return texts, kept


def not_empty(values: list[str], location: Callable[[int], str]) -> list[str]:
    """Return the texts if each is valid Unicode with a visible character. Raises DataError with the location of another."""
    as_array(values, pa.string(), location)
    if empty := [index for index, value in enumerate(values) if is_empty(value)]:
        raise DataError(f"{location(empty[0])}: the text is empty; fill or remove it")
    return values


def required_values(values: list[Any], *, path: str | Path, column: str) -> list[str]:
    """Return the values of a column as texts. Raises DataError for a missing or empty one."""
    found = ["" if value is None else str(value) for value in values]
    for row, value in enumerate(found, start=1):
        if is_empty(value):
            raise DataError(f"{path}: row {row}, column {column}: is empty; fill it, or remove the row")
    return found


def text_column(source: Source, column: str | None) -> str:
    """Return `column`, or the one with a name in ALIASES, or the only one. Raises DataError with the columns."""
    columns = source.columns
    if column is not None:
        require_columns(source, [column])
        return column
    found = list(dict.fromkeys(present for alias in ALIASES for present in columns if present.lower() == alias))
    if len(found) == 1 or len(columns) == 1:
        return (found or columns)[0]
    many = "several possible text columns" if found else "no known text column"
    raise DataError(
        f"{source.name}: has {many}; name it text, or choose it with --text where the command has this option "
        f"(columns: {', '.join(map(shorten, columns[:20]))})"
    )
