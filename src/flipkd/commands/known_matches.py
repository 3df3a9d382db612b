"""Known matches of records, read from a file of id pairs or row pairs, to measure the recall of candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flipkd.data.labels import label_at
from flipkd.data.records import Records, as_text, unique_rows
from flipkd.data.sources import location_of, open_source, plain, readable, require_columns
from flipkd.entities.groups import Rows
from flipkd.errors import DataError, shorten

LABEL = "label"
HINT = "; known matches have the columns id1 and id2 if --id is given, else row1 and row2"


def known_matches(path: str, sides: Sequence[Records], *, ids: tuple[str | None, str | None]) -> tuple[Rows, Rows]:
    """Return the known matches in a file as row pairs of the records (from 0); rows with another label than 1 are left out.

    `sides`: the records of one file or two. The file of matches has columns id1 and id2 with values of the columns `ids`, or
    without ids row1 and row2, from 1. Raises DataError for a value that no record has, a record that is paired with itself, and
    a file without matches.
    """
    finders = [
        _by_row(records) if column is None else _by_id(records, column)
        for records, column in zip((sides[0], sides[-1]), ids, strict=True)
    ]
    names = ["row1", "row2"] if ids[0] is None else ["id1", "id2"]
    rows: list[list[int]] = []
    with readable(path):
        source = open_source(path)
        require_columns(source, names, hint=HINT)
        others = [*names, LABEL] if LABEL in source.columns else names
        for batch in source.batches([], others):
            for index, values in enumerate(zip(*batch.values, strict=True)):
                locations = [location_of(source.name, batch, name, index) for name in others]
                if len(others) > len(names) and label_at(values[-1], locations[-1]) != 1:
                    continue
                rows.append([find(*at) for find, *at in zip(finders, values, locations, strict=False)])
                if len(sides) == 1 and rows[-1][0] == rows[-1][1]:
                    raise DataError(f"{locations[0]}: a record is paired with itself; remove the row")
    if not rows:
        raise DataError(
            f"{path}: has no known match; give rows with two ids, and label 1 where there is a column label"
        )
    left, right = np.array(rows, np.int64).T
    return left, right


def _by_id(records: Records, column: str) -> Callable[[Any, str], int]:
    rows = unique_rows(records, column)

    def _row_of(value: Any, location: str) -> int:
        key = as_text(plain(value))
        if key is None or key not in rows:
            raise DataError(
                f"{location}: no record of {records.name} has the id {shorten(value)} in column {shorten(column)}"
            )
        return rows[key]

    return _row_of


def _by_row(records: Records) -> Callable[[Any, str], int]:
    def _row_of(value: Any, location: str) -> int:
        text = str(value).strip()
        if not text.isdecimal() or not 1 <= int(text) <= len(records):
            raise DataError(f"{location}: {shorten(value)} is no row of {records.name}; allowed: 1 to {len(records)}")
        return int(text) - 1

    return _row_of
