"""Files of scored pairs: the output of flipkd match, and logs of answers; columns as lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flipkd.data.columns import OTHER_ALIASES
from flipkd.data.labels import label_at, parse_label, parse_score
from flipkd.data.pairs import parse_all
from flipkd.data.readers import open_json_lines
from flipkd.data.sources import location_of, open_source, plain, readable, require_columns
from flipkd.errors import DataError, shorten

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".gz", ".zst")
_PARSERS: dict[str, Callable[[Any], Any]] = {"score": parse_score, "probability": parse_score, "label": parse_label}
REJECTED = "rejected.jsonl"  # rows without a score, in the folder of `flipkd match --output_dir`
Columns = dict[str, list[Any]]


def scored_files(path: str) -> list[Path]:
    """Return the file, or the files of a folder in the order of their names. Raises DataError for a folder without any."""
    folder = Path(path)
    if not folder.is_dir():
        return [folder]
    visible = [file for file in folder.iterdir() if not file.name.startswith(".") and file.name != REJECTED]
    files = [file for file in visible if _unrotated(file)[0].suffix in ENDINGS]
    if not files:
        raise DataError(f"{path}: no file in this folder ends in {', '.join(ENDINGS)}")
    return sorted(files, key=_unrotated)


def _unrotated(file: Path) -> tuple[Path, int]:
    """Return the name of a file before a server rotated it, and minus its number: answers.jsonl.2 is older than .1."""
    number = file.suffix[1:]
    return (file.with_suffix(""), -int(number)) if number.isdecimal() and number.isascii() else (file, 0)


def read_columns(path: str | Path, *, required: Sequence[str], optional: Sequence[str] = ()) -> Columns:
    """Read columns of a file by name; optional ones that it does not have are None in each row.

    `score` and `probability` are numbers, `label` is 1, 0 or None and may have another common name; other columns
    are JSON values.
    Raises DataError with file, row and column for a missing column and for a value that is none of these.
    """
    wanted = [*required, *optional]
    columns: Columns = {name: [] for name in wanted}
    with readable(path):
        source = open_json_lines(Path(path)) if _unrotated(Path(path))[1] else open_source(path)
        present = {name: _present(source.columns, name) for name in wanted}
        require_columns(source, [name for name in required if present[name] is None])
        read = {name: column for name, column in present.items() if column is not None}
        rows = 0
        for batch in source.batches([], list(read.values())):
            rows += len(batch.values[0])
            for (name, column), values in zip(read.items(), batch.values, strict=True):
                location = partial(location_of, source.name, batch, column)
                columns[name] += parse_all(values, _PARSERS.get(name, plain), location)
    source.require_rows(rows)
    return {name: values or [None] * rows for name, values in columns.items()}


def read_by_id(path: str | Path, column: str) -> dict[str, int]:
    """Read {id: 0 or 1} in the order of the file, from the columns `id` and `column`; rows without a value are left out.

    Raises DataError for a missing column or id, a value that is not 0 or 1, and an id that occurs twice.
    """
    found: dict[str, int] = {}
    columns = read_columns(path, required=("id", column))
    for row, (name, value) in enumerate(zip(columns["id"], columns[column], strict=True), 1):
        if name is None:
            raise DataError(f"{path}: row {row} has no id")
        if str(name) in found:
            raise DataError(f"{path}: row {row}: the id {shorten(str(name))} occurs twice; keep one row of each id")
        if (number := label_at(value, f"{path}: row {row}, column {column}")) is not None:
            found[str(name)] = number
    return found


def join_columns(parts: Sequence[Mapping[str, list[Any]]]) -> Columns:
    """Join the columns of several files."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def _present(columns: Sequence[str], name: str) -> str | None:
    """Return the column of that name, or of an alias of `label`."""
    names = OTHER_ALIASES["label"] if name == "label" else (name,)
    return next((column for alias in names for column in columns if column.strip().casefold() == alias), None)
