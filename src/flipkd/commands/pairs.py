"""Files of pairs into checked data sets; needs no torch, so that what is wrong with pairs is said at once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from flipkd.data import Leak, check_pairs, leaks_by_side, read_pairs, require_trainable
from flipkd.data.labels import labels_of
from flipkd.errors import DataError
from flipkd.student.contract import CONTRACT, matcher_folder, read_contract
from flipkd.text import normal_text

logger = logging.getLogger(__name__)


def trainable_pairs(path: str, *, columns: Mapping[str, str] | None, name: str, directed: bool = False) -> Any:
    """Pairs that were read, checked and normalised, as teacher and student learn from them; errors as `checked_pairs`."""
    return normalised(checked_pairs(path, columns=columns, name=name, directed=directed))


def normalised(dataset: Any) -> Any:
    """The same pairs with each text in its normal form."""
    for side in ("text1", "text2"):
        texts = dataset[side][:]
        normal = [normal_text(text) for text in texts]
        if normal != texts:
            dataset = dataset.remove_columns(side).add_column(side, normal)
    return dataset


def checked_pairs(path: str, *, columns: Mapping[str, str] | None, name: str, directed: bool = False) -> Any:
    """Pairs that were read and checked; warnings are logged. Raises DataError for what stops training."""
    dataset = read_pairs(path, columns=columns)
    report = check_pairs(dataset, name=name, directed=directed)
    for warning in report.warnings:
        logger.warning("%s: %s", name, warning)
    require_trainable(report)
    return dataset


def is_directed(matcher: str) -> bool:
    """Whether a matcher's pairs have a direction; False where no contract is found, of which loading it says more."""
    folder = matcher_folder(matcher)
    return (folder / CONTRACT).exists() and read_contract(folder).directed


@contextmanager
def warned_once() -> Iterator[None]:
    """While it lasts, what is wrong with the same pairs is said only once, however often they are read."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        new = record.getMessage() not in said
        said.add(record.getMessage())
        return new

    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def warn_of_leaks(splits: Mapping[str, Any]) -> dict[tuple[str, str], Leak]:
    """What a later split shares with an earlier one; logged where it makes figures flatter."""
    found = leaks_by_side(splits)
    for (earlier, later), leak in found.items():
        if leak.rows:
            logger.warning(
                "%s/%s: %d rows hold a text that stands on both sides (text1 in %d, text2 in %d); figures will flatter"
                "%s",
                earlier,
                later,
                leak.rows,
                leak.text1_rows,
                leak.text2_rows,
                _unless(leak),
            )
        elif leak.text2_rows:
            logger.info(
                "%s/%s share their right side, a list of %d texts; no text1 stands on both sides",
                earlier,
                later,
                leak.shared_text2,
            )
    return found


def _unless(leak: Leak) -> str:
    """When a leak of one side alone is meant."""
    for side, other, rows in (("text1", "text2", leak.text1_rows), ("text2", "text1", leak.text2_rows)):
        if not rows:
            return f", unless known {other} are to meet new {side} (split --by {side})"
    return ""


def labelled(dataset: Any, *, name: str) -> Any:
    """The rows with a label. Raises DataError when there is none."""
    known = np.flatnonzero(labels_of(dataset) >= 0)
    if not len(known):
        raise DataError(f"{name}: no row has a label; labels are needed here")
    if len(known) == len(dataset):
        return dataset
    logger.warning("%s: %d of %d rows have no label and are left out", name, len(dataset) - len(known), len(dataset))
    return dataset.select(known)


def content_hash(dataset: Any) -> str:
    """The sha256 of texts, labels and scores, where there are any, in their order."""
    digest = hashlib.sha256()
    columns = [dataset["text1"][:], dataset["text2"][:], labels_of(dataset).tolist()]
    if "score" in dataset.column_names:
        columns.append(dataset["score"][:])
    for row in zip(*columns, strict=True):
        for part in (str(value).encode() for value in row):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
