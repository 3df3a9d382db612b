"""Files of a retrieval measurement: texts with ids (queries or documents), and judgements of which document is relevant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flipkd.data.readers import Source
from flipkd.data.records import read_texts
from flipkd.data.sources import location_of, open_source, readable
from flipkd.errors import DataError, shorten

QUERY_IDS = ("query_id", "query-id", "qid")
DOCUMENT_IDS = ("doc_id", "document_id", "corpus_id", "corpus-id", "did")
TEXT_IDS = ("id", "_id")
RELEVANCE = ("relevance", "score", "label")

Judgements = dict[str, dict[str, float]]


def read_collection(path: str | Path, *, ids: Sequence[str]) -> dict[str, str]:
    """Read texts by their id, in the order of the file; the id column has a name of `ids` or of TEXT_IDS.

    Raises DataError for a missing or ambiguous column, an empty text and an id that is missing or occurs twice.
    """
    with readable(path):
        column = _column(open_source(path), [*ids, *TEXT_IDS])
    texts, kept = read_texts(path, keep=[column])
    found: dict[str, str] = {}
    for row, (value, text) in enumerate(zip(kept[column], texts, strict=True), 1):
        name = _id(value, f"{path}: row {row}, column {column}")
        if name in found:
            raise DataError(f"{path}: row {row}: the id {shorten(name)} occurs twice; ids must be unique")
        found[name] = text
    return found


def read_judgements(path: str | Path) -> Judgements:
    """Read {query id: {document id: relevance}}, also with the relevance 0 (judged as not relevant).

    Raises DataError for a missing column, a relevance that is not a number from 0 on and a pair judged twice.
    """
    found: Judgements = {}
    with readable(path):
        source = open_source(path)
        columns = [_column(source, names) for names in (QUERY_IDS, DOCUMENT_IDS, RELEVANCE)]
        for batch in source.batches([], columns):
            for index, (query, document, relevance) in enumerate(zip(*batch.values, strict=True)):
                location = partial(location_of, source.name, batch, index=index)
                judged = found.setdefault(_id(query, location(columns[0])), {})
                name = _id(document, location(columns[1]))
                if name in judged:
                    raise DataError(
                        f"{location(columns[1])}: the document {shorten(name)} is judged twice for a query"
                    )
                judged[name] = _grade(relevance, location(columns[2]))
    source.require_rows(len(found))
    return found


def _column(source: Source, names: Sequence[str]) -> str:
    """Return the column of a source that has one of the names."""
    found = [column for column in source.columns if column.lower() in names]
    if len(found) != 1:
        what = "several columns" if found else "no column"
        raise DataError(
            f"{source.name}: has {what} of the names {', '.join(names)}; it has {', '.join(map(shorten, source.columns[:20]))}"
        )
    return found[0]


def _id(value: Any, location: str) -> str:
    if value is None or not str(value).strip():
        raise DataError(f"{location}: the id is missing")
    return str(value)


def _grade(value: Any, location: str) -> float:
    try:
        grade = float(value)
    except (TypeError, ValueError):
        grade = math.nan
    if not (math.isfinite(grade) and grade >= 0):
        raise DataError(f"{location}: got {shorten(value)}; a relevance is a number from 0 (not relevant) on")
    return grade
