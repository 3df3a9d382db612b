"""read_pool: read unlabelled pairs, or single texts, for a teacher to score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flipkd.data.columns import OTHER_ALIASES, find_columns
from flipkd.data.pairs import TEXTS, read_pairs
from flipkd.data.records import read_texts
from flipkd.data.sources import open_source, readable
from flipkd.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

TEXT = "text"  # the column of a file of single texts


@dataclass(frozen=True)
class Pool:
    """Unlabelled pairs, or single texts (`alone`) from which pairs are made later."""

    dataset: Dataset
    """Columns text1 and text2; for single texts both contain the same text."""
    alone: bool
    labels: str | None
    """Name of the label column of the file, which is not read; None if there is none."""


def read_pool(path: str | Path, *, columns: Mapping[str, str] | None = None) -> Pool:
    """Read the pairs of a file (two text columns, as in `read_pairs`), or else its texts (one column `text`).

    Of `columns` (our name -> the file's) only text columns that the file has are used.
    Raises DataError as `read_pairs` does.
    """
    with readable(path):
        source = open_source(path)
        chosen = {
            ours: theirs for ours, theirs in (columns or {}).items() if ours in TEXTS and theirs in source.columns
        }
        labels = next((name for name in source.columns if name.strip().casefold() in OTHER_ALIASES["label"]), None)
        try:
            find_columns(source.columns, chosen, source.name)
            column = None
        except DataError as error:
            column = next((name for name in source.columns if name.strip().casefold() == TEXT), None)
            if column is None:
                raise DataError(f"{error}; or give single texts in one column called {TEXT}") from None
    if column is None:
        return Pool(read_pairs(path, columns=chosen, only=TEXTS), alone=False, labels=labels)
    from datasets import Dataset

    texts = list(dict.fromkeys(read_texts(path, column=column)[0]))
    return Pool(Dataset.from_dict({"text1": texts, "text2": texts}), alone=True, labels=labels)
