"""Readers of columnar data: Parquet files and data sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flipkd.data.lines import DECODE_LIMIT
from flipkd.data.readers import BATCH_ROWS, Batch, Source, refuse_duplicate_columns
from flipkd.errors import DataError, ResourceError, shorten
from flipkd.progress import loading

_PROBE_BYTES = 2 * 2**30
_PROBE_ROWS = 16
_NOT_DAMAGE = (pa.ArrowMemoryError, ResourceError, PermissionError)


def open_parquet(path: Path) -> Source:
    """Open a Parquet file, with page checksums verified.

    Raises DataError for a damaged file, ResourceError for one that decodes to more than DECODE_LIMIT bytes.
    """
    try:
        schema = pq.read_schema(path)
        columns = schema.names
    except _NOT_DAMAGE:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None

    def batches(texts: list[str], others: list[str]) -> Iterator[Batch]:
        refuse_duplicate_columns(str(path), columns, [*texts, *others])
        _check_types(str(path), schema, texts, others)
        return _parquet_batches(path, schema, [*texts, *others])

    return Source(str(path), columns, batches, "has columns but no rows")


def _parquet_batches(path: Path, schema: Any, wanted: list[str]) -> Iterator[Batch]:
    try:
        _check_size(path, schema, wanted)
        yield from _batched(str(path), _record_batches(path, wanted, BATCH_ROWS), wanted)
    except _NOT_DAMAGE:
        raise
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: a text column contains bytes that are not UTF-8; write the file again as UTF-8"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def open_hub(name: str, split: str | None) -> Source:
    """Open a data set of the hub, or of its local cache. Raises DataError if it cannot be loaded or needs a split."""
    loading(name)
    import datasets

    try:
        found = datasets.load_dataset(name, split=split)
    except Exception as error:  # several libraries raise here, each with its own exception classes
        raise DataError(
            f"{name!r} is not an existing file and could not be loaded as a hub data set "
            f"({type(error).__name__}: {shorten(str(error), 200)}); a file ends in .csv, .tsv, .jsonl or .parquet; "
            "a hub data set needs the right owner/name and split, and a network or a copy in the local cache"
        ) from error
    if isinstance(found, dict):
        if len(found) != 1:
            raise DataError(f"{name}: has the splits {', '.join(found)}; choose one as {name}:{next(iter(found))}")
        found = next(iter(found.values()))

    def batches(texts: list[str], others: list[str]) -> Iterator[Batch]:
        _check_types(name, found.features.arrow_schema, texts, others)
        wanted = [*texts, *others]
        return _batched(name, found.select_columns(wanted).with_format("arrow").iter(BATCH_ROWS), wanted)

    return Source(name, list(found.column_names), batches, "has no rows")


def _check_types(name: str, schema: Any, texts: list[str], others: list[str]) -> None:
    """Raise DataError unless text columns have type string and other columns have one plain value per row."""
    for column in texts:
        kind = schema.field(column).type
        if not _is_string(_inner(kind)):
            raise DataError(
                f"{name}: column {shorten(column)} has type {kind}, but a text column has type string; "
                "write it as string, or choose another column"
            )
    for column in others:
        kind = schema.field(column).type
        # A list of repeated values can be millions of times larger than the file, and batches do not divide it.
        if pa.types.is_nested(_inner(kind)) or isinstance(kind, pa.BaseExtensionType):
            raise DataError(
                f"{name}: column {shorten(column)} has type {shorten(str(kind))}, but a used column must have one plain value "
                "per row; write it as string or number, or leave it out"
            )


def _inner(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_string(kind: Any) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _record_batches(path: Path, wanted: list[str], rows: int) -> Iterator[Any]:
    # pre_buffer would read complete row groups in advance, which takes too much memory
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=rows, columns=wanted, use_threads=False)


def _check_size(path: Path, schema: Any, wanted: list[str]) -> None:
    """Decode the file once in small batches, keep nothing, and raise ResourceError beyond DECODE_LIMIT bytes."""
    size = 0
    for batch in _record_batches(path, wanted, _probe_rows(path, schema, wanted)):
        size += sum(_decoded_bytes(column) for column in batch.columns)
        if size > DECODE_LIMIT:
            raise ResourceError(
                f"{path}: decodes to more than {DECODE_LIMIT:,} bytes ({path.stat().st_size:,} on disk); "
                "split it into smaller files if you trust its source"
            )


def _probe_rows(path: Path, schema: Any, wanted: list[str]) -> int:
    """Rows per batch of the size check; no value is larger than its row group, so a batch stays near _PROBE_BYTES."""
    if any(pa.types.is_dictionary(schema.field(column).type) for column in wanted):
        return BATCH_ROWS  # each batch has each value once; small batches would rebuild a large dictionary each time
    metadata = pq.read_metadata(path)
    # Reading column chunks from a damaged footer aborts the process (pyarrow 26), so row groups are used.
    largest = max((metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)), default=1)
    return max(1, min(_PROBE_ROWS, _PROBE_BYTES // max(largest, 1)))


def _decoded_bytes(column: Any) -> int:
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    counts = column.indices.value_counts()
    taken = column.dictionary.take(counts.field("values"))
    total = 4 * len(column)  # the offset of each text
    if not (_is_string(taken.type) or pa.types.is_binary(taken.type) or pa.types.is_large_binary(taken.type)):
        return total
    return total + (pc.sum(pc.multiply(pc.binary_length(taken).cast(pa.int64()), counts.field("counts"))).as_py() or 0)


def _batched(name: str, tables: Iterator[Any], wanted: list[str]) -> Iterator[Batch]:
    first_row = 1
    for table in tables:
        yield Batch([_values(f"{name}: column {shorten(c)}", table.column(c)) for c in wanted], first_row, [])
        first_row += table.num_rows


def _values(location: str, column: Any) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (pa.ArrowMemoryError, UnicodeDecodeError):
        raise
    except (pa.ArrowException, OverflowError, ValueError) as error:
        # Arrow has years and time zones that Python has not.
        raise DataError(
            f"{location}: a value of type {column.type} cannot be read ({shorten(str(error), 160)}); write the column as string, "
            "or leave it out"
        ) from None
    return values


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: incomplete or damaged Parquet file ({shorten(str(error), 160)}); write or copy it again"
    )
