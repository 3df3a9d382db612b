"""Columns of a LanceDB index: names and types of what it keeps of each entry, and tables of entries in these types."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flipkd.errors import DataError, UsageError, shorten
from flipkd.index.hits import Floats

ID, TEXT, VECTOR = "id", "text", "vector"
RESULT = ("corpus_id", "similarity", "score", "probability", "decision", "truncated", "answer_id")  # fields of a hit
RESERVED = {ID, TEXT, VECTOR, *RESULT}
TYPES = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
MOST_ID_CHARACTERS = 512
INT_RANGE = range(-(2**63), 2**63)


def check_columns(types: Mapping[str, str]) -> None:
    """Raise UsageError for a column name that an index cannot keep, or an unknown type."""
    folded: set[str] = set()
    for name, kind in types.items():
        if name.casefold() in RESERVED:
            raise UsageError(
                f"column {shorten(name)}: an entry has a field of that name; rename the column in the file"
            )
        if not name or name.startswith("_") or set(name) & set(".`\0"):
            raise UsageError(
                f"column {shorten(name)}: the name of a kept column has no dot and no backtick and does not begin with _"
            )
        if name.casefold() in folded:
            raise UsageError(
                f"column {shorten(name)}: another kept column differs from it only in capitals; rename one"
            )
        if kind not in TYPES:
            raise UsageError(
                f"column {shorten(name)}: the type {shorten(kind)} is unknown; allowed: {', '.join(TYPES)}"
            )
        folded.add(name.casefold())


def schema(types: Mapping[str, str], width: int) -> pa.Schema:
    """Return the Arrow schema of an index: id, text, the kept columns and a vector of `width`."""
    fields = [pa.field(ID, pa.string(), nullable=False), pa.field(TEXT, pa.string(), nullable=False)]
    fields += [pa.field(name, TYPES[kind]) for name, kind in types.items()]
    return pa.schema([*fields, pa.field(VECTOR, pa.list_(pa.float32(), width))])


def guessed_type(values: Sequence[Any]) -> str:
    """Return the type that holds all values of a column: those of a csv file are texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "bool"
    if kinds == {int} and all(value in INT_RANGE for value in values if value is not None):
        return "int"
    return "float" if kinds and kinds <= {int, float} else "text"


def converted(entry: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Return an entry with its kept values in the types of the index; a value that is absent or an empty cell is null.

    Raises DataError for another value and for a field that the index does not keep.
    """
    if unknown := [name for name in entry if name not in types and name not in (ID, TEXT)]:
        kept = ", ".join(types) or "none"
        raise DataError(f"{_named(entry)} has the field {shorten(unknown[0])}; the index keeps these columns: {kept}")
    return {name: entry[name] for name in (ID, TEXT) if name in entry} | {
        name: _value(entry.get(name), kind, f"{_named(entry)}, column {shorten(name)}") for name, kind in types.items()
    }


def _named(entry: Mapping[str, Any]) -> str:
    return f"entry {shorten(entry.get(ID) or entry.get(TEXT), 40)}"


def _value(value: Any, kind: str, location: str) -> Any:
    try:
        if value is None or (value == "" and kind != "text"):
            return None
        if kind == "text" and isinstance(value, str | int | float):
            text = value if isinstance(value, str) else json.dumps(value)
            text.encode()  # raises for a lone surrogate
            return text
        if kind == "bool" and isinstance(value, bool | str):
            return value if isinstance(value, bool) else TRUTH[value.strip().casefold()]
        if kind == "int" and not isinstance(value, bool) and float(value).is_integer() and int(value) in INT_RANGE:
            return int(value)
        if kind == "float" and not isinstance(value, bool) and np.isfinite(float(value)):
            return float(value)
    except (ValueError, KeyError, TypeError, OverflowError):
        pass
    raise DataError(f"{location}: {shorten(value, 40)} is not of type {kind}")


def content_id(entry: Mapping[str, Any]) -> str:
    """Return the id of an entry without one: a hash of its text and kept values, so that the same row is the same entry."""
    content = json.dumps([[name, entry[name]] for name in sorted(entry) if name != ID], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def check_ids(entries: Sequence[Mapping[str, Any]]) -> None:
    """Raise DataError for an id that is empty, too long or not unique."""
    first: dict[str, int] = {}
    for row, entry in enumerate(entries):
        name = entry[ID]
        if not isinstance(name, str) or not name.strip() or "\0" in name or len(name) > MOST_ID_CHARACTERS:
            raise DataError(
                f"entry {row + 1}: the id {shorten(name, 40)} is not a text of 1 to {MOST_ID_CHARACTERS} characters"
            )
        if name in first:
            raise DataError(f"the id {shorten(name, 40)} occurs twice, in entries {first[name] + 1} and {row + 1}")
        first[name] = row


def table_of(entries: Sequence[Mapping[str, Any]], vectors: Floats, types: Mapping[str, str]) -> pa.Table:
    """Return the Arrow table of converted entries and their vectors [n, d]. Raises DataError for invalid Unicode."""
    numbers = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    try:
        columns = [pa.array([entry.get(name) for entry in entries], schema(types, 1).field(name).type)
                   for name in (ID, TEXT, *types)]  # fmt: skip
    except UnicodeEncodeError:
        raise DataError(
            "an id or a text has a lone surrogate (\\ud800 to \\udfff), which is not valid Unicode"
        ) from None
    columns.append(pa.FixedSizeListArray.from_arrays(numbers, vectors.shape[1]))
    return pa.Table.from_arrays(columns, schema=schema(types, vectors.shape[1]))
