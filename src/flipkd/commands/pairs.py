"""Load files of pairs as checked data sets, without torch, so that data errors appear at once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.config import CompareConfig, TeachConfig, TrainConfig
from flipkd.data.check import check_pairs, require_trainable
from flipkd.data.labels import labels_of
from flipkd.data.leakage import Leak, leaks_by_side
from flipkd.data.pairs import read_pairs, sides_of
from flipkd.errors import DataError
from flipkd.files import sha256
from flipkd.student.contract import CONTRACT, read_contract
from flipkd.text import normal_text

logger = logging.getLogger(__name__)


def trainable_pairs(path: str, *, columns: Mapping[str, str] | None, name: str, directed: bool = False) -> Any:
    """Read, check and normalise pairs for training; raises as `checked_pairs`."""
    return normalised(checked_pairs(path, columns=columns, name=name, directed=directed))


def trainable_sets(config: TeachConfig | TrainConfig | CompareConfig, *names: str) -> dict[str, Any]:
    """Read the pairs of each setting `NAME_file` as `trainable_pairs` does."""
    reading: dict[str, Any] = {"columns": config.columns, "directed": config.directed}
    return {name: trainable_pairs(getattr(config, f"{name}_file"), name=name, **reading) for name in names}


def normalised(dataset: Any) -> Any:
    """Return the pairs with each text in its normal form."""
    for side in ("text1", "text2"):
        texts = dataset[side][:]
        normal = [normal_text(text) for text in texts]
        if normal != texts:
            dataset = dataset.remove_columns(side).add_column(side, normal)
    return dataset


def checked_pairs(path: str, *, columns: Mapping[str, str] | None, name: str, directed: bool = False) -> Any:
    """Read and check pairs, and log warnings. Raises DataError, with the path, for problems that prevent training."""
    dataset = read_pairs(path, columns=columns)
    report = check_pairs(dataset, name=str(path), directed=directed)
    for warning in report.warnings:
        logger.warning("%s: %s", name, warning)
    require_trainable(report)
    return dataset


def is_directed(folder: Path) -> bool:
    """Return whether a matcher is for directed pairs; False without a contract, which is an error when it is loaded."""
    return (folder / CONTRACT).exists() and read_contract(folder).directed


def labelled_pairs(path: str, *, columns: Mapping[str, str] | None, directed: bool = False) -> Any:
    """Read and check the pairs of a file, and return those with a label; raises as `checked_pairs` and `labelled`."""
    return labelled(checked_pairs(path, columns=columns, name=path, directed=directed), name=path)


@contextmanager
def log_once() -> Iterator[None]:
    """Log each warning about pairs only once inside this context, although the same files are read several times."""
    logged: set[str] = set()

    def is_first(record: logging.LogRecord) -> bool:
        new = record.getMessage() not in logged
        logged.add(record.getMessage())
        return new

    logger.addFilter(is_first)
    try:
        yield
    finally:
        logger.removeFilter(is_first)


def warn_of_leaks(splits: Mapping[str, Any]) -> dict[tuple[str, str], Leak]:
    """Find the texts that a later split shares with an earlier one; warn when they make the metrics too good."""
    found = leaks_by_side(splits)
    for (earlier, later), leak in found.items():
        if leak.rows:
            logger.warning(
                "%s/%s: %d rows of %s have a text of %s (%d in text1, %d in text2), so metrics on them are too high%s",
                earlier,
                later,
                leak.rows,
                later,
                earlier,
                leak.text1_rows,
                leak.text2_rows,
                _intended_use(leak),
            )
        elif leak.text2_rows:
            logger.info(
                "%s/%s share a list of %d texts on the right side, and no text1",
                earlier,
                later,
                leak.shared_text2,
            )
    return found


def _intended_use(leak: Leak) -> str:
    """Return the use case in which a leak of one side only is intended; empty for a leak of both sides."""
    for side, other, rows in (("text1", "text2", leak.text1_rows), ("text2", "text1", leak.text2_rows)):
        if not rows:
            return f", unless in use each {side} is new and its {other} is known (split --by {side})"
    return ""


def labelled(dataset: Any, *, name: str) -> Any:
    """Return the rows with a label. Raises DataError when no row has one."""
    known = np.flatnonzero(labels_of(dataset) >= 0)
    if not len(known):
        raise DataError(f"{name}: no row has a label; add a label column with 0 and 1")
    if len(known) == len(dataset):
        return dataset
    logger.warning("%s: %d of %d rows have no label and are skipped", name, len(dataset) - len(known), len(dataset))
    return dataset.select(known)


def file_identity(path: str) -> str:
    """Return the sha256 of a file, or the name of a data set of the hub."""
    return sha256(path) if Path(path).is_file() else path


def content_hash(dataset: Any) -> str:
    """Return the sha256 of texts, labels and scores (if any) in row order."""
    digest = hashlib.sha256()
    columns = [*sides_of(dataset), labels_of(dataset).tolist()]
    if "score" in dataset.column_names:
        columns.append(dataset["score"][:])
    for row in zip(*columns, strict=True):
        for part in (str(value).encode() for value in row):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
