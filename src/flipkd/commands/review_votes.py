"""Labels in the files of labelling tools: JSON of Label Studio and Argilla, and tables."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from flipkd.data.labels import parse_label
from flipkd.data.readers import Batch, Source
from flipkd.data.sources import location_of, open_source, readable, require_columns
from flipkd.errors import DataError, shorten
from flipkd.review import argilla, label_studio
from flipkd.review.queue import Vote
from flipkd.review.sampling import pair_key

SKIPPED = ("skip", "skipped")  # labels of a table that leave a pair open
TEXTS = ("text1", "text2")


def read_votes(file: str, *, annotator: str) -> list[Vote]:
    """Read the labels of a file; `annotator` names the author of rows that have none. Rows without a label are left out.

    Raises DataError, with row and value, for a file of another format or a value that is no label.
    """
    with readable(file):
        if Path(file).suffix == ".json":
            return _read_json(file)
        source = open_source(file)
        by_key = "key" in source.columns
        wanted = [*(("key",) if by_key else TEXTS), "label"]
        wanted += ["annotator"] if "annotator" in source.columns else []
        require_columns(source, wanted)
        return [
            vote for batch in source.batches([], wanted) for vote in _batch_votes(source, wanted, batch, annotator)
        ]


def _batch_votes(source: Source, wanted: list[str], batch: Batch, annotator: str) -> list[Vote]:
    location = partial(location_of, source.name, batch, "label")
    votes = []
    for index, values in enumerate(zip(*batch.values, strict=True)):
        row: dict[str, Any] = dict(zip(wanted, values, strict=True))
        given = row["label"].strip().casefold() if isinstance(row["label"], str) else row["label"]
        try:
            label = None if given in SKIPPED else parse_label(given)
        except ValueError:
            raise DataError(
                f"{location(index)}: got {shorten(row['label'])}; write match, no match or skip (or 1 or 0, yes or no), "
                "or leave the cell empty"
            ) from None
        if label is not None or given in SKIPPED:
            key = row["key"] if "key" in row else pair_key(str(row["text1"]), str(row["text2"]))
            votes.append(Vote(str(key), str(row.get("annotator") or annotator), label))
    return votes


def _read_json(file: str) -> list[Vote]:
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not readable as JSON ({error})") from None
    rows = content if isinstance(content, list) else []
    if rows and all(isinstance(row, dict) for row in rows):
        for tool in (label_studio, argilla):
            if tool.is_export(rows[0]):
                try:
                    return list(tool.votes(rows))
                except (KeyError, TypeError, IndexError, AttributeError) as error:
                    raise DataError(
                        f"{file}: a part of the export is missing or of another type ({error!r})"
                    ) from None
    raise DataError(
        f"{file}: is no JSON export of Label Studio or of Argilla (dataset.records.to_json), nor a csv file"
    )
