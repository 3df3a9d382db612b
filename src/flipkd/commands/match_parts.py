"""Files of pairs cut into parts: small Parquet files of checked pairs, each of which is scored on its own."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flipkd.artefacts import library_errors
from flipkd.commands.match_rows import to_jsonl
from flipkd.data.pairs import read_blocks
from flipkd.errors import ConfigError, DataError, ResourceError, shorten
from flipkd.files import new_file, read_json, sha256, write_json, write_text
from flipkd.text import is_empty

PAIRS = ".pairs"  # folder of the parts, in the output folder
EMPTY = "empty text"
STORES = (
    *("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "hdfs", "webhdfs", "hf", "http", "https"),
    *("ftp", "sftp", "ssh", "smb", "file", "local", "memory"),
)


@dataclass(frozen=True)
class Part:
    """Rows of one input file. `name` sorts as the rows do: number of the file and first row."""

    name: str
    file: str
    rows: int


@dataclass(frozen=True)
class CutFile:
    """One input file that is cut: its sha256, its number of rows, and its parts."""

    file: str
    sha256: str
    rows: int
    parts: list[Part]


def find_inputs(patterns: Sequence[str]) -> list[str]:
    """Return the files that paths, patterns (`logs/*.csv`) and addresses of fsspec (`s3://bucket/*.parquet`) name, in order.

    Raises DataError for a pattern without a file and for a file that is named twice, ConfigError when a package is missing.
    """
    found: list[str] = []
    for pattern in patterns:
        has_pattern = any(character in pattern for character in "*?[")
        if "://" in pattern:
            _check_address(pattern)
            with _remote_errors(pattern):
                from fsspec.core import url_to_fs

                system, path = url_to_fs(pattern)
                names = (
                    [system.unstrip_protocol(name) for name in sorted(system.glob(path))] if has_pattern else [pattern]
                )
        elif has_pattern and not Path(pattern).exists():
            root = Path(pattern).anchor
            names = sorted(map(str, Path(root or ".").glob(pattern.removeprefix(root))))
        else:
            names = [pattern]
        if not names:
            raise DataError(f"{pattern}: no file has such a name; compare it with the names in the folder")
        found += names
    first: dict[str, str] = {}
    for name in found:
        real = name if "://" in name else os.path.realpath(name)  # a.csv, ./a.csv and a link to it are one file
        if real in first:
            raise DataError(
                f"{name}: is named twice{'' if name == first[real] else f', also as {first[real]}'}; name it once"
            )
        first[real] = name
    return found


def _check_address(address: str) -> None:
    """Raise ConfigError for an address of anything but one store: other protocols of fsspec wrap further ones, or run code.

    A chain (`zip://a.csv::https://...`) and a password are refused too; an address is written into the results.
    """
    protocol, _, rest = address.partition("://")
    if protocol not in STORES or "::" in address:
        raise ConfigError(
            f"{shorten(address)}: addresses begin with one of {', '.join(f'{name}://' for name in STORES)}, without a chain (::)"
        )
    if "@" in rest.split("/")[0] and ":" in rest.split("@")[0]:
        raise ConfigError(
            f"{protocol}://: the address has a password, which would be written into the results; give it in the settings of "
            "the package, by its environment variables or files"
        )


def cut_file(
    file: str, number: int, folder: Path, *, columns: Mapping[str, str] | None, keep: Sequence[str], rows_per_part: int
) -> CutFile:
    """Cut a file into parts in `folder`, or return what an earlier process has cut; file `number` of the inputs.

    Rows with an empty text go to `NUMBER.rejected.jsonl`. Raises DataError as `read_blocks` does, and when a local file has
    changed since it was cut.
    """
    record = folder / f"{number:05d}.json"
    if record.is_file():
        with library_errors(record, "not a record of flipkd; delete the output folder and run the command again"):
            values = read_json(record)
            parts = [Part(str(part["name"]), file, int(part["rows"])) for part in values["parts"]]
            cut = CutFile(file, str(values["sha256"]), int(values["rows"]), parts)
        if "://" not in file and sha256(file) != cut.sha256:
            raise DataError(f"{file}: has changed since its first pairs were scored; choose another --output_dir")
        return cut
    with _local_copy(file) as path:
        parts = []
        rejected: list[dict[str, Any]] = []
        rows = 0
        for table, removed, read in _tables(path, file, columns=columns, keep=keep, size=rows_per_part):
            if table.num_rows:
                part = Part(f"{number:05d}-{rows + 1:012d}", file, table.num_rows)
                write_parquet(folder / f"{part.name}.parquet", table)
                parts.append(part)
            rejected += removed
            rows += read
        write_text(folder / f"{number:05d}.rejected.jsonl", to_jsonl(rejected))
        cut = CutFile(file, sha256(path), rows, parts)
    write_json(record, asdict(cut))
    return cut


def _tables(
    path: Path, file: str, *, columns: Mapping[str, str] | None, keep: Sequence[str], size: int
) -> Iterator[tuple[Any, list[dict[str, Any]], int]]:
    """Yield (checked rows as an Arrow table, rejected rows, number of rows read) for each `size` rows of a file."""
    import pyarrow as pa

    schema = pa.schema([("row", pa.int64()), *((name, pa.string()) for name in ("text1", "text2", *keep))])
    pending: list[dict[str, Any]] = []
    row = 0
    for block in read_blocks(path, columns=columns, keep=keep):
        for index, (left, right) in enumerate(zip(block.left, block.right, strict=True)):
            row += 1
            kept = {name: _as_text(values[index]) for name, values in block.kept.items()}
            pending.append({"row": row, "text1": left, "text2": right, **kept})
            if len(pending) == size:
                yield _split(pending, file, schema)
                pending = []
    if pending:
        yield _split(pending, file, schema)


def _split(rows: list[dict[str, Any]], file: str, schema: Any) -> tuple[Any, list[dict[str, Any]], int]:
    import pyarrow as pa

    good, rejected = [], []
    for row in rows:
        if is_empty(row["text1"]) or is_empty(row["text2"]):
            rejected.append(rejected_row(file, row, EMPTY))
        else:
            good.append(row)
    return pa.Table.from_pylist(good, schema=schema), rejected, len(rows)


def rejected_row(file: str, row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Row of the file of rejected rows."""
    return {"file": file, "row": row["row"], "reason": reason, "text1": row["text1"], "text2": row["text2"]}


def write_parquet(path: Path, table: Any) -> None:
    """Write an Arrow table atomically, with a checksum for each page."""
    import pyarrow.parquet as pq

    with new_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _as_text(value: Any) -> str | None:
    """Text of a kept value, so that a column has one type in all parts: texts as they are, other values as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextmanager
def _local_copy(file: str) -> Iterator[Path]:
    """Context manager of a local path of an input; an address of fsspec is copied into a temporary folder."""
    if "://" not in file:
        yield Path(file)
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / Path(file).name
        with _remote_errors(file):
            from fsspec.core import url_to_fs

            system, path = url_to_fs(file)
            system.get_file(path, str(target))
        yield target


@contextmanager
def _remote_errors(address: str) -> Iterator[None]:
    """Context manager that turns what fsspec raises into errors of flipkd with the address."""
    try:
        yield
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{address}: cannot be opened; is the package of this file system installed? ({error})"
        ) from None
    except FileNotFoundError:
        raise DataError(f"{address}: no such file") from None
    except Exception as error:  # each package has exception classes of its own
        reason = shorten(str(error) or type(error).__name__, 200)
        raise ResourceError(f"{address}: cannot be read ({reason})") from None
