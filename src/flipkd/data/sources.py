"""Opening of inputs (a file by its ending, or a data set of the hub) and checks of the texts in their rows."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa

from flipkd.data.arrow import open_hub, open_parquet
from flipkd.data.file_formats import PARQUET, is_json, refuse_other_format
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
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?::([\w.-]+))?")  # owner/name, or owner/name:split
_JSON = "; one object per line: rename it to .jsonl; a list of objects: jq -c '.[]' FILE.json > FILE.jsonl"
_SURROGATE = re.compile("[\ud800-\udfff]")


class readable:
    """Context manager that raises ResourceError for a file that cannot be read or does not fit into memory.

    It is a class because a generator's frame would keep the exception, and the open file, until the next garbage
    collection.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Replace MemoryError and OSError by ResourceError."""
        if isinstance(error, MemoryError):
            raise ResourceError(
                f"{self.path}: not enough memory to read the file; split it into smaller ones"
            ) from None
        if isinstance(error, OSError) and not isinstance(error, ResourceError):
            raise ResourceError(f"{self.path}: cannot be read ({error.strerror or error})") from error


def open_source(path: str | Path, split: str | None = None) -> Source:
    """Open a file or a hub data set. Raises DataError if it is neither, UsageError for `split` with a file or another type."""
    if not isinstance(path, str | os.PathLike):
        raise UsageError(
            f"got a {type(path).__name__} where a file name is needed; write a table to a file (to_parquet) first"
        )
    file = Path(path)
    if "\0" in str(path) or not str(path).strip():
        raise DataError(f"{shorten(str(path))}: not a file name")
    hub = _HUB_ID.fullmatch(path) if isinstance(path, str) and _ending(file) not in _FORMATS else None
    if hub and not file.exists():
        files = [near for near in sorted(file.parent.glob(f"{file.name}.*")) if _ending(near) in _FORMATS]
        if files and not (split or hub[2]):
            raise DataError(
                f"{path}: no such file; did you mean {files[0]}? For a data set of the hub, write its split: {path}:SPLIT"
            )
        return open_hub(hub[1], split or hub[2])
    if split is not None:
        raise UsageError(f"{path}: split={split!r} is only for data sets of the hub, but this is a file; remove it")
    _check_file(file)
    return _opened(file, _FORMATS[_ending(file)])


def _ending(file: Path) -> str:
    """Lower-case file ending that gives the format, without the ending of a compression (.gz)."""
    return Path(file.stem if file.suffix.lower() in _COMPRESSIONS else file.name).suffix.lower()


def _check_file(file: Path) -> None:
    if not file.exists():
        raise DataError(f"{file}: no such file{_nearest_file(file)}")
    if not file.is_file():
        raise DataError(f"{file}: is {_kind(file)}; give one file that ends in {', '.join(_FORMATS)}")
    if not file.stat().st_size:
        raise DataError(f"{file}: the file is empty (0 bytes)")
    if _ending(file) not in _FORMATS:
        refuse_other_format(file, first_bytes(file))
        raise DataError(
            f"{file}: cannot read files that end in {file.suffix!r}; save it as one of {', '.join(_FORMATS)} (text files "
            f"may be compressed: with {', '.join(_COMPRESSIONS)} at the end){_JSON if _ending(file) == '.json' else ''}"
        )


def _kind(path: Path) -> str:
    """What is no file: a folder, of `Dataset.save_to_disk` or any other, or a device."""
    if not path.is_dir():
        return "not a regular file"
    if (path / "dataset_dict.json").exists():
        return "a folder of datasets with several splits (write one as a file: load_from_disk(...)[SPLIT].to_parquet(FILE))"
    if (path / "dataset_info.json").exists():
        return "a folder of datasets (write it as a file: load_from_disk(...).to_parquet(FILE))"
    return "a folder"


def _opened(file: Path, by_name: Callable[[Path], Source]) -> Source:
    """Open a file by its content; log a warning if its name has the ending of another format."""
    compression, start = compression_of(file), first_bytes(file)
    refuse_other_format(file, start)
    is_parquet = start.startswith(PARQUET)
    if compression and (is_parquet or by_name is open_parquet):
        raise DataError(f"{file}: is compressed with {compression}, which is not supported for Parquet; decompress it")
    if compression != _COMPRESSIONS.get(file.suffix.lower()):
        log_once(
            f"{file}: is {f'compressed with {compression}' if compression else 'not compressed'}, although its name says "
            "otherwise"
        )
    if is_parquet and by_name is not open_parquet:
        log_once(f"{file}: is a Parquet file, although its name says otherwise; read as Parquet")
        return open_parquet(file)
    if is_json(start) and by_name is not open_json_lines:
        log_once(f"{file}: is JSON, although its name says otherwise; read as JSON lines")
        return open_json_lines(file)
    if by_name is open_parquet and not is_parquet:
        raise DataError(
            f"{file}: incomplete or damaged Parquet file, or none, since it does not begin with PAR1; write or copy it again; "
            "name a text file .csv, .tsv or .jsonl"
        )
    return by_name(file)


def _nearest_file(file: Path) -> str:
    if not file.parent.is_dir():
        return f", and no folder {file.parent}"
    found = {entry.name: entry.stem for entry in file.parent.iterdir()}
    alike = get_close_matches(file.stem, {*found.values()})  # the ending alone makes logs.csv similar to test.csv
    close = get_close_matches(file.name, [name for name, stem in found.items() if stem in alike], n=1)
    return f"; did you mean {file.with_name(close[0])}?" if close else f" in the folder {file.parent.absolute()}"


def require_columns(source: Source, names: Iterable[str], *, hint: str = "") -> None:
    """Raise DataError for the first name that is not a column of the source; `hint`: what else to do, for the message."""
    for name in names:
        if name not in source.columns:
            listed = nearest(name, source.columns, what="columns of the file")
            raise DataError(f"{source.name}: has no column {shorten(name)}; {listed}{hint}")


def columns_of(path: str | Path) -> list[str]:
    """Return the column names of a file. Raises DataError as `open_source`, ResourceError as `readable`."""
    with readable(path):
        return open_source(path).columns


def location_of(name: str, batch: Batch, column: str, index: int) -> str:
    """Location of a value, for errors: file, row and column."""
    return f"{name}: {batch.location(index)}, column {shorten(column)}"


def checked(values: list[Any], location: Callable[[int], str]) -> list[Any]:
    """Return the values if all are texts. Raises DataError with the location of the first that is not."""
    for index, value in enumerate(values):
        if type(value) is str and "\0" not in value and len(value) <= CELL_LIMIT:
            continue
        if value is None:
            raise DataError(f"{location(index)}: the text is missing (null or absent); every row needs a text")
        if not isinstance(value, str):
            kind = type(value).__name__
            remedy = "write the text alone into this column" if isinstance(value, list | dict) else "quote it"
            raise DataError(f"{location(index)}: {shorten(value)} is a {kind}, but a text must be a string; {remedy}")
        if len(value) > CELL_LIMIT:
            raise DataError(f"{location(index)}: the text has {len(value):,} characters; allowed: {CELL_LIMIT:,}")
        position = value.index("\0") + 1
        raise DataError(
            f"{location(index)}: NUL character at position {position}; remove it (is the file UTF-16 or binary?)"
        )
    return values


def as_array(values: list[Any], kind: Any, location: Callable[[int], str]) -> Any:
    """Convert the values to Arrow. Raises DataError with the location of the first that is not valid Unicode."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # JSON can contain a lone surrogate, which UTF-8 cannot encode
        index = next(i for i, value in enumerate(values) if _SURROGATE.search(value or ""))
        raise DataError(f"{location(index)}: lone surrogate (\\ud800 to \\udfff): not valid Unicode") from None


def plain(value: Any) -> Any:
    """Convert a value to one that JSON and UTF-8 can represent."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
