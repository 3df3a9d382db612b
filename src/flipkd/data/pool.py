"""read_pool: texts that nobody labelled, as pairs or alone, for a teacher to grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flipkd.data.columns import OTHER_ALIASES, find_columns
from flipkd.data.pairs import TEXTS, read_pairs
from flipkd.data.sources import open_source, readable
from flipkd.data.texts import read_texts
from flipkd.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

ALONE = "text"  # the column of a file of texts alone


@dataclass(frozen=True)
class Pool:
    """Pairs without labels, or texts alone, of which pairs are still to be made."""

    dataset: Dataset
    """text1 and text2; of texts alone both are the same text."""
    alone: bool
    labels: str | None
    """The column of labels that the file has and that was not read."""


def read_pool(path: str | Path, *, columns: Mapping[str, str] | None = None) -> Pool:
    """The pairs (two text columns, as `read_pairs` finds them) or else the texts (one column `text`) of a file.

    Of `columns` (ours -> the file's) only those of the texts count, and only where the file has them.
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
            column = next((name for name in source.columns if name.strip().casefold() == ALONE), None)
            if column is None:
                raise DataError(f"{error}; or give texts alone, in one column called {ALONE}") from None
    if column is None:
        return Pool(read_pairs(path, columns=chosen, only=TEXTS), alone=False, labels=labels)
    from datasets import Dataset

    texts = list(dict.fromkeys(read_texts(path, column=column)[0]))
    return Pool(Dataset.from_dict({"text1": texts, "text2": texts}), alone=True, labels=labels)
