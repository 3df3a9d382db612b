"""Cut pairs into train, validation and test so that no text stands on two sides, and count where a cut leaks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from flipkd.errors import DataError, UsageError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_NO_LETTER_OR_DIGIT = re.compile(r"[\W_]+")
LEAST_OF_SHARE = 0.5  # a part that gets less of the rows asked for than this is a failure


def split_pairs(dataset: Dataset, *, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> DatasetDict:
    """train, validation and test, cut by connected component of shared texts (and of `group` where there is one).

    Texts are the same when their letters and digits agree after NFKC and case folding. `validation` and `test` are
    shares of the rows; a share of 0 leaves that part out. Rows keep their order; the same seed gives the same cut.
    Raises UsageError for impossible shares, DataError when rows hang together too much to be cut so.
    """
    from datasets import DatasetDict

    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UsageError(f"validation={validation}, test={test}: shares are 0 or more and together less than 1")
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    shares = {part: share for part, share in shares.items() if share > 0}
    if not len(dataset):
        raise DataError("there are no rows to split")
    component = components(dataset)
    wanted = np.array(list(shares.values()))
    part_of_row = placed(_class_counts(dataset, component), wanted, seed)[component]
    rows = {part: np.flatnonzero(part_of_row == index) for index, part in enumerate(shares)}
    _check_sizes({part: len(found) for part, found in rows.items()}, shares, component)
    return DatasetDict({part: dataset.select(found) for part, found in rows.items()})


def leaks(splits: Mapping[str, Dataset]) -> dict[str, int]:
    """Per pair of splits, as "train/test": rows of the second that hold a text of the first (same texts as above)."""
    keys = {
        name: ([_key(text) for text in part["text1"][:]], [_key(text) for text in part["text2"][:]])
        for name, part in splits.items()
    }
    found = {}
    for first, second in combinations(splits, 2):
        known = {key for side in keys[first] for key in side}
        found[f"{first}/{second}"] = sum(
            left in known or right in known for left, right in zip(*keys[second], strict=True)
        )
    return found


def _key(text: str) -> str:
    """Letters and digits after NFKC and case folding; the stripped text itself where it has none."""
    folded = (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()
    return _NO_LETTER_OR_DIGIT.sub("", folded) or text.strip()


def components(dataset: Dataset) -> np.ndarray:
    """int [N]: rows with the same number share a text or a group, directly or over other rows."""
    columns: list[Sequence[Hashable]] = [*text_keys(dataset)]
    if "group" in dataset.column_names:
        columns.append([None if group is None else ("group", group) for group in dataset["group"][:]])
    return tied(columns)


def text_keys(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Left and right texts [N] as they are compared: equal when their letters and digits agree."""
    left, right = ([_key(text) for text in dataset[column][:]] for column in ("text1", "text2"))
    return left, right


def tied(columns: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """int [N]: rows with the same number have a value in common, directly or over other rows; None ties nothing.

    columns: each [N]; a value means the same in all of them.
    """
    rows = len(columns[0])
    nodes: dict[Hashable, int] = {}
    edges = [
        (row, rows + nodes.setdefault(value, len(nodes)))
        for column in columns
        for row, value in enumerate(column)
        if value is not None
    ]
    start, end = np.array(edges, np.int64).T
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(rows + len(nodes),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1][:rows])


def _class_counts(dataset: Dataset, component: np.ndarray) -> np.ndarray:
    """[components, 3]: rows labelled 0, labelled 1, unlabelled."""
    labels = dataset["label"][:] if "label" in dataset.column_names else [None] * len(dataset)
    kind = np.array([2 if label is None else label for label in labels], np.int64)
    counts = np.bincount(component * 3 + kind, minlength=(component.max() + 1) * 3)
    return counts.reshape(-1, 3)


def placed(counts: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Part of each component: largest first, each where the squared distance from the sizes asked for grows least.

    The distance is sum over parts and classes of (rows - target)^2 / target, so sizes and label balance count alike.
    """
    targets = np.maximum(np.outer(shares, counts.sum(axis=0)), 1e-9)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled = np.zeros_like(targets)
    part = np.zeros(len(counts), np.int64)
    for index in order:
        rows = counts[index]
        growth = (rows * (2 * (filled - targets) + rows) / targets).sum(axis=1)
        part[index] = growth.argmin()
        filled[part[index]] += rows
    return part


def _check_sizes(sizes: dict[str, int], shares: dict[str, float], component: np.ndarray) -> None:
    total = len(component)
    if all(sizes[part] and sizes[part] >= LEAST_OF_SHARE * share * total for part, share in shares.items()):
        return
    per_component = np.bincount(component)
    largest, count = int(per_component.max()), len(np.unique(component))
    if largest == 1:
        raise DataError(f"{total} rows are too few to be cut into {', '.join(shares)}; give more rows")
    asked = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
    raise DataError(
        f"{total} rows cannot be cut into {asked}: tied by shared texts they form {count} blocks, the largest of "
        f"{largest} rows ({largest / total:.0%}), and a block stays on one side. Give more rows, other shares, or "
        "drop the texts (or the group column) that tie the rows together"
    )
