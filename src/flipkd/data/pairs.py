"""read_pairs: any table of text pairs as a datasets.Dataset with our column names, or an error that says where."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flipkd.data.arrow import open_hub, open_parquet
from flipkd.data.columns import find_columns
from flipkd.data.labels import PARSERS
from flipkd.data.readers import CELL_LIMIT, Batch, Source, open_json_lines, open_separated
from flipkd.errors import DataError, ResourceError, UsageError, nearest, shorten

if TYPE_CHECKING:
    from datasets import Dataset

_FORMATS: dict[str, Callable[[Path], Source]] = {
    ".csv": lambda path: open_separated(path, ","),
    ".tsv": lambda path: open_separated(path, "\t"),
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".parquet": open_parquet,
}
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?::([\w.-]+))?")  # owner/name, or owner/name:split
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_SCHEMA = pa.schema(
    [
        ("text1", pa.string()),
        ("text2", pa.string()),
        ("label", pa.int64()),
        ("score", pa.float64()),
        ("group", pa.string()),
    ]
)


def read_pairs(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    only: Collection[str] | None = None,
) -> Dataset:
    """Pairs of a csv, tsv, jsonl or parquet file, or of a data set of the hub, one row each, in their order.

    Columns: text1, text2 (string, byte for byte as written); label (int64, 1 match, 0 none, null unlabelled), score
    (float64, a teacher's) and group (string) where the file has them. Found by name; `columns` (ours -> the file's)
    wins. `split` is for data sets of the hub, which may also be given as `owner/name:split`. `only`: those of our
    columns that are read at all.
    Raises DataError naming file, row, column and value, ResourceError when it cannot be read or held in memory.
    """
    try:
        source = _open(path, split)
        found = find_columns(source.columns, columns, source.name)
        wanted = {name: column for name, column in found.items() if only is None or name in only}
        table = _table(source, wanted)
    except MemoryError:
        raise ResourceError(f"{path}: not enough memory to hold the pairs; cut the file into smaller ones") from None
    except OSError as error:
        if isinstance(error, ResourceError):
            raise
        raise ResourceError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not table.num_rows:
        raise DataError(f"{source.name}: {source.empty}")
    from datasets import Dataset

    return Dataset(table)


def read_columns(
    path: str | Path, names: Collection[str], *, columns: Mapping[str, str] | None = None
) -> dict[str, list[Any]]:
    """Other columns of a file of pairs, row by row as `read_pairs` has them: {the file's name: values as they stand there}.

    What JSON cannot hold (a date of a Parquet file) comes as its text. Raises DataError for a name that the file lacks.
    """
    source = _open(path, None)
    for name in names:
        if name not in source.columns:
            raise DataError(f"{source.name}: has no column {shorten(name)}; {nearest(name, source.columns)}")
    texts = list(find_columns(source.columns, columns, source.name).values())[:2]
    kept: dict[str, list[Any]] = {name: [] for name in names}
    wanted = [*texts, *(name for name in kept if name not in texts)]  # a source checks that the first two are texts
    for batch in source.batches(wanted):
        found = dict(zip(wanted, batch.values, strict=True))
        for name, values in kept.items():
            values += map(_plain, found[name])
    return kept


def _plain(value: Any) -> Any:
    """A value that JSON and UTF-8 can hold."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _open(path: str | Path, split: str | None) -> Source:
    file = Path(path)
    if "\0" in str(path) or not str(path).strip():
        raise DataError(f"{shorten(str(path))}: not a file name")
    hub = _HUB_ID.fullmatch(path) if isinstance(path, str) and file.suffix.lower() not in _FORMATS else None
    if hub and not file.exists():
        return open_hub(hub[1], split or hub[2])
    if split is not None:
        raise UsageError(f"{path}: split={split!r} is for data sets of the hub, but this is a file; leave it out")
    _check_file(file)
    return _FORMATS[file.suffix.lower()](file)


def _check_file(file: Path) -> None:
    if not file.exists():
        raise DataError(f"{file}: no such file{_nearest_file(file)}")
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "no regular file"
        raise DataError(f"{file}: is {kind}; name one file that ends in {', '.join(_FORMATS)}")
    if file.suffix.lower() not in _FORMATS:
        raise DataError(
            f"{file}: cannot read files that end in {file.suffix!r}; save it as one of {', '.join(_FORMATS)}"
        )
    if not file.stat().st_size:
        raise DataError(f"{file}: the file is empty (0 bytes)")


def _nearest_file(file: Path) -> str:
    if not file.parent.is_dir():
        return f", and no folder {file.parent} either"
    close = get_close_matches(file.name, [entry.name for entry in file.parent.iterdir()], n=1)
    return f"; did you mean {file.with_name(close[0])}?" if close else f" in the folder {file.parent.absolute()}"


def _table(source: Source, wanted: dict[str, str]) -> Any:
    schema = pa.schema([_SCHEMA.field(name) for name in wanted])
    chunks: dict[str, list[Any]] = {name: [] for name in wanted}
    for batch in source.batches(list(wanted.values())):
        for (name, column), values in zip(wanted.items(), batch.values, strict=True):
            place = partial(_place, source.name, batch, column)
            parsed = _texts(values, place) if name in ("text1", "text2") else _parsed(values, PARSERS[name], place)
            array = _array(parsed, schema.field(name).type, place)
            chunks[name].extend(array.chunks if isinstance(array, pa.ChunkedArray) else [array])
    return pa.table([pa.chunked_array(chunks[field.name], field.type) for field in schema], schema=schema)


def _place(name: str, batch: Batch, column: str, index: int) -> str:
    return f"{name}: {batch.place(index)}, column {shorten(column)}"


def _texts(values: list[Any], place: Callable[[int], str]) -> list[Any]:
    for index, value in enumerate(values):
        if type(value) is str and "\0" not in value and len(value) <= CELL_LIMIT:
            continue
        if value is None:
            raise DataError(f"{place(index)}: the text is missing (null or absent); every row needs both texts")
        if not isinstance(value, str):
            kind = type(value).__name__
            raise DataError(f"{place(index)}: {shorten(value)} is a {kind}, but a text must be a string; quote it")
        if len(value) > CELL_LIMIT:
            raise DataError(f"{place(index)}: the text has {len(value):,} characters; allowed: {CELL_LIMIT:,}")
        position = value.index("\0") + 1
        raise DataError(f"{place(index)}: NUL at character {position}; remove it (is the file UTF-16 or binary?)")
    return values


def _parsed(values: list[Any], parse: Callable[[Any], Any], place: Callable[[int], str]) -> list[Any]:
    parsed = []
    for index, value in enumerate(values):
        try:
            parsed.append(parse(value))
        except ValueError as error:
            raise DataError(f"{place(index)}: got {shorten(value)}; {error}") from None
    return parsed


def _array(values: list[Any], kind: Any, place: Callable[[int], str]) -> Any:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair, which UTF-8 cannot hold
        index = next(i for i, value in enumerate(values) if _HALF_PAIR.search(value or ""))
        raise DataError(f"{place(index)}: half of a surrogate pair (\\ud800 to \\udfff) is no character") from None
