"""Where rows come from: a file by its ending, or a data set of the hub; and what a text in a row must be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa

from flipkd.data.arrow import open_hub, open_parquet
from flipkd.data.file_formats import PARQUET, refuse_other_format
from flipkd.data.lines import compression_of, first_bytes
from flipkd.data.readers import CELL_LIMIT, Batch, Source, log_once, open_json_lines
from flipkd.data.separated import open_separated
from flipkd.errors import DataError, ResourceError, UsageError, nearest, shorten

_FORMATS: dict[str, Callable[[Path], Source]] = {
    ".csv": lambda path: open_separated(path, ","),
    ".tsv": lambda path: open_separated(path, "\t"),
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".parquet": open_parquet,
}
_NAMED = 50  # columns in a message
_PACKED = {".gz": "gzip", ".zst": "zstd"}
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?::([\w.-]+))?")  # owner/name, or owner/name:split
_HALF_PAIR = re.compile("[\ud800-\udfff]")


class readable:
    """`with readable(path):` says as ResourceError what the system says of a file that cannot be read or held.

    A class, since a generator's frame would keep the exception, and with it the open file, until the next collection.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise ResourceError in the place of what was raised."""
        if isinstance(error, MemoryError):
            raise ResourceError(f"{self.path}: not enough memory to hold it; cut the file into smaller ones") from None
        if isinstance(error, OSError) and not isinstance(error, ResourceError):
            raise ResourceError(f"{self.path}: cannot be read ({error.strerror or error})") from error


def open_source(path: str | Path, split: str | None = None) -> Source:
    """The file or hub data set of that name. Raises DataError when it cannot be one, UsageError for a file's split."""
    file = Path(path)
    if "\0" in str(path) or not str(path).strip():
        raise DataError(f"{shorten(str(path))}: not a file name")
    hub = _HUB_ID.fullmatch(path) if isinstance(path, str) and _ending(file) not in _FORMATS else None
    if hub and not file.exists():
        return open_hub(hub[1], split or hub[2])
    if split is not None:
        raise UsageError(f"{path}: split={split!r} is for data sets of the hub, but this is a file; leave it out")
    _check_file(file)
    return _opened(file, _FORMATS[_ending(file)])


def _ending(file: Path) -> str:
    """The ending that tells the format, in lower case; that of a compression behind it is left out."""
    return Path(file.stem if file.suffix.lower() in _PACKED else file.name).suffix.lower()


def _check_file(file: Path) -> None:
    if not file.exists():
        raise DataError(f"{file}: no such file{_nearest_file(file)}")
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "no regular file"
        raise DataError(f"{file}: is {kind}; name one file that ends in {', '.join(_FORMATS)}")
    if not file.stat().st_size:
        raise DataError(f"{file}: the file is empty (0 bytes)")
    if _ending(file) not in _FORMATS:
        refuse_other_format(file, first_bytes(file))
        raise DataError(
            f"{file}: cannot read files that end in {file.suffix!r}; save it as one of {', '.join(_FORMATS)} (text files "
            f"may be compressed: {', '.join(_PACKED)} behind it)"
        )


def _opened(file: Path, by_name: Callable[[Path], Source]) -> Source:
    """The file by what it is, which is said where its name says something else."""
    packed, start = compression_of(file), first_bytes(file)
    refuse_other_format(file, start)
    is_parquet = start.startswith(PARQUET)
    if packed and (is_parquet or by_name is open_parquet):
        raise DataError(f"{file}: is compressed with {packed}, which Parquet is not read from; unpack it")
    if packed != _PACKED.get(file.suffix.lower()):
        log_once(
            f"{file}: is {f'compressed with {packed}' if packed else 'not compressed'}, whatever its name says; read so"
        )
    if is_parquet and by_name is not open_parquet:
        log_once(f"{file}: is a Parquet file, whatever its name says; read so")
        return open_parquet(file)
    return by_name(file)


def _nearest_file(file: Path) -> str:
    if not file.parent.is_dir():
        return f", and no folder {file.parent} either"
    close = get_close_matches(file.name, [entry.name for entry in file.parent.iterdir()], n=1)
    return f"; did you mean {file.with_name(close[0])}?" if close else f" in the folder {file.parent.absolute()}"


def require_columns(source: Source, names: Iterable[str]) -> None:
    """Raise DataError for the first name that the source has no column of."""
    for name in names:
        if name not in source.columns:
            shown = source.columns[:_NAMED]
            rest = f" and {len(source.columns) - _NAMED} more" if len(source.columns) > _NAMED else ""
            raise DataError(f"{source.name}: has no column {shorten(name)}; {nearest(name, shown)}{rest}")


def location_of(name: str, batch: Batch, column: str, index: int) -> str:
    """Where a value stands: file, row and column."""
    return f"{name}: {batch.place(index)}, column {shorten(column)}"


def checked(values: list[Any], place: Callable[[int], str]) -> list[Any]:
    """The values, which must be texts. Raises DataError with the place of the first that is not."""
    for index, value in enumerate(values):
        if type(value) is str and "\0" not in value and len(value) <= CELL_LIMIT:
            continue
        if value is None:
            raise DataError(f"{place(index)}: the text is missing (null or absent); every row needs it")
        if not isinstance(value, str):
            kind = type(value).__name__
            raise DataError(f"{place(index)}: {shorten(value)} is a {kind}, but a text must be a string; quote it")
        if len(value) > CELL_LIMIT:
            raise DataError(f"{place(index)}: the text has {len(value):,} characters; allowed: {CELL_LIMIT:,}")
        position = value.index("\0") + 1
        raise DataError(f"{place(index)}: NUL at character {position}; remove it (is the file UTF-16 or binary?)")
    return values


def as_array(values: list[Any], kind: Any, place: Callable[[int], str]) -> Any:
    """The values as Arrow holds them. Raises DataError with the place of the first that UTF-8 cannot hold."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair, which UTF-8 cannot hold
        index = next(i for i, value in enumerate(values) if _HALF_PAIR.search(value or ""))
        raise DataError(f"{place(index)}: half of a surrogate pair (\\ud800 to \\udfff) is no character") from None


def plain(value: Any) -> Any:
    """A value that JSON and UTF-8 can hold."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
