"""Result file of rows as csv, jsonl or parquet by its name: written block by block under a temporary name, then renamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

from flipkd.commands.match_rows import to_csv, to_jsonl
from flipkd.commands.results import csv_text, require_writable
from flipkd.errors import UsageError
from flipkd.files import new_file, resource_errors

FORMATS = (".csv", ".jsonl", ".parquet")
LARGEST = 2**63  # of an integer column of Parquet

Write = Callable[[list[dict[str, Any]]], None]


def require_format(path: str | Path) -> None:
    """Raise UsageError for a file name that does not end in one of FORMATS."""
    if Path(path).suffix not in FORMATS:
        raise UsageError(f"{path}: unknown file type; name the result {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")


def require_row_file(path: str, *, source: str, mark: str) -> None:
    """Raise UsageError for an unknown file type, and what `require_writable` raises."""
    require_format(path)
    require_writable(path, source=source, mark=mark)


def write_rows(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write rows with the same keys, of which there is at least one, for later commands: no text is guarded."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    with new_row_file(path, types_of([columns]), guard=False) as write:
        write(rows)


@contextmanager
def new_row_file(path: str | Path, types: Mapping[str, type], *, guard: bool = True) -> Iterator[Write]:
    """Context manager of a new file; yields the function that writes a block of rows.

    types: the columns in their order; in Parquet they are columns of that type, where a missing value is null. `guard`: as
    in `to_csv`. On an error the file is not made. Raises ResourceError.
    """
    path = Path(path)
    with new_file(path) as temporary, resource_errors(path):
        if path.suffix == ".parquet":
            with _parquet_writer(temporary, types) as write:
                yield write
            return
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                file.write(csv_text(list(types), []))

            def write_text(rows: list[dict[str, Any]]) -> None:
                """Write the rows as lines."""
                file.write(to_csv(rows, header=False, guard=guard) if path.suffix == ".csv" else to_jsonl(rows))

            yield write_text


@contextmanager
def _parquet_writer(path: Path, types: Mapping[str, type]) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, arrow[kind]) for name, kind in types.items()])
    with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:

        def write_table(rows: list[dict[str, Any]]) -> None:
            """Write the rows as one row group."""
            columns = {
                name: [row[name] if row[name] is None else kind(row[name]) for row in rows]
                for name, kind in types.items()
            }
            writer.write_table(pa.table(columns, schema=schema))

        yield write_table


def types_of(columns: Iterable[Mapping[str, Iterable[Any]]]) -> dict[str, type]:
    """Return the type of each column from its JSON values in blocks: bool, int or float where all have it, else str."""
    kinds: dict[str, set[type]] = {}
    for block in columns:
        for name, values in block.items():
            kinds.setdefault(name, set()).update(map(_kind, values))
    return {name: _common(found - {NoneType}) for name, found in kinds.items()}


def _kind(value: Any) -> type:
    return str if isinstance(value, int) and abs(value) >= LARGEST else type(value)


def _common(kinds: set[type]) -> type:
    if kinds == {int, float}:
        return float
    return kinds.pop() if len(kinds) == 1 else str
