"""read_pairs: read a table of text pairs as a datasets.Dataset with our column names; and the texts of such a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flipkd.data.columns import find_columns
from flipkd.data.labels import PARSERS, parse_label, parse_score, with_point
from flipkd.data.readers import Source
from flipkd.data.sources import as_array, checked, location_of, open_source, plain, readable, require_columns
from flipkd.errors import DataError, UsageError, shorten

if TYPE_CHECKING:
    from datasets import Dataset

TEXTS = ("text1", "text2")
WITH_COMMA: dict[str, Callable[[Any], Any]] = {
    "label": lambda value: parse_label(with_point(value)),
    "score": lambda value: parse_score(with_point(value)),
}
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
    """Read the pairs of a csv, tsv, jsonl or parquet file, or of a data set of the hub, in their order.

    Columns: text1, text2 (string, byte for byte as written); label (int64, 1 match, 0 no match, null unlabelled), score
    (float64, a teacher's) and group (string) if the file has them. They are found by name; `columns` (our name -> the
    file's) overrides that. `split` is for data sets of the hub, which may also be given as `owner/name:split`. `only`: our
    names of the columns to read.
    Raises DataError with file, row, column and value, ResourceError if it cannot be read or does not fit into memory.

    Examples:
        >>> from flipkd import read_pairs
        >>> pairs = read_pairs("pairs.csv", columns={"text1": "title", "text2": "candidate"})
        >>> pairs.column_names
        ['text1', 'text2', 'label']
    """
    with readable(path):
        source = open_source(path, split)
        found = find_columns(source.columns, columns, source.name)
        wanted = {name: column for name, column in found.items() if only is None or name in only}
        table = _table(source, wanted)
    source.require_rows(table.num_rows)
    from datasets import Dataset

    return Dataset(table)


def sides_of(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return the left and the right texts of a data set of pairs."""
    return dataset["text1"][:], dataset["text2"][:]


def pairs_of(dataset: Dataset) -> list[tuple[str, str]]:
    """Return the (left, right) pairs of texts of a data set."""
    return list(zip(*sides_of(dataset), strict=True))


def require_texts(dataset: Any) -> None:
    """Raise UsageError unless a data set has the text columns of `read_pairs`."""
    if missing := [name for name in TEXTS if name not in getattr(dataset, "column_names", ())]:
        raise UsageError(
            f"got a {type(dataset).__name__} without {missing[0]}; give the data set of read_pairs, or a datasets.Dataset "
            "with the columns text1 and text2"
        )


@dataclass(frozen=True)
class PairBlock:
    """Consecutive rows of a file of pairs: both texts, and the other requested columns as JSON values."""

    left: list[str]
    right: list[str]
    kept: dict[str, list[Any]]


def read_blocks(
    path: str | Path, *, columns: Mapping[str, str] | None = None, keep: Collection[str] = ()
) -> Iterator[PairBlock]:
    """Iterate over the texts of a file of pairs in blocks of rows, so that a file of any size can be read.

    `keep`: further columns, by the file's names. Raises DataError as `read_pairs` does, and for a missing column.
    """
    with readable(path):
        source = open_source(path)
        require_columns(source, keep)
        texts = [
            column for name, column in find_columns(source.columns, columns, source.name).items() if name in TEXTS
        ]
        others = [name for name in dict.fromkeys(keep) if name not in texts]
        rows = 0
        for batch in source.batches(texts, others):
            found = dict(zip([*texts, *others], batch.values, strict=True))
            for column in texts:
                location = partial(location_of, source.name, batch, column)
                as_array(checked(found[column], location), pa.string(), location)
            rows += len(batch.values[0])
            kept = {name: [*map(plain, found[name])] for name in keep}
            yield PairBlock(found[texts[0]], found[texts[1]], kept)
    source.require_rows(rows)


def _table(source: Source, wanted: dict[str, str]) -> Any:
    schema = pa.schema([_SCHEMA.field(name) for name in wanted])
    chunks: dict[str, list[Any]] = {name: [] for name in wanted}
    texts = [column for name, column in wanted.items() if name in TEXTS]
    others = [column for name, column in wanted.items() if name not in TEXTS]
    parsers = PARSERS | (WITH_COMMA if source.decimal_comma else {})
    for batch in source.batches(texts, others):
        for (name, column), values in zip(wanted.items(), batch.values, strict=True):
            location = partial(location_of, source.name, batch, column)
            parsed = checked(values, location) if name in TEXTS else parse_all(values, parsers[name], location)
            array = as_array(parsed, schema.field(name).type, location)
            chunks[name].extend(array.chunks if isinstance(array, pa.ChunkedArray) else [array])
    return pa.table([pa.chunked_array(chunks[field.name], field.type) for field in schema], schema=schema)


def parse_all(values: list[Any], parse: Callable[[Any], Any], location: Callable[[int], str]) -> list[Any]:
    """Parse the values of a column. Raises DataError with the location of the first that cannot be parsed."""
    parsed = []
    for index, value in enumerate(values):
        try:
            parsed.append(parse(value))
        except ValueError as error:
            raise DataError(f"{location(index)}: got {shorten(value)}; {error}") from None
    return parsed
