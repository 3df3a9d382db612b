"""Split of pairs into train, validation and test; no text, or no text of one side, is in two parts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from flipkd.data.columns import OTHER_ALIASES
from flipkd.data.folding import word_key
from flipkd.data.labels import labels_of
from flipkd.data.pairs import require_texts, sides_of
from flipkd.errors import DataError, UsageError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

BY = ("text1", "text2", "group")
_SMALL_BLOCK = 0.05  # share of the rows; blocks up to this size fit into any part
MIN_ROWS_OF_SHARE = 0.5  # a part with a smaller share of its requested rows is an error


def split_pairs(
    dataset: Dataset, *, by: str | None = None, validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> DatasetDict:
    """Split into train, validation and test by connected components of shared texts (and of `group` if given).

    With `by`, only equal values of "text1", "text2" or "group" keep rows together (a row without a group uses its text1),
    so texts of the other column may be in two parts. Texts are equal if their `word_key` is equal. `validation` and `test`
    are shares of the rows; a share of 0 omits that part. Rows keep their order; the same seed gives the same split.
    Raises UsageError for invalid shares or another `by`, DataError if shared texts connect too many rows.

    Examples:
        >>> from flipkd import read_pairs, split_pairs
        >>> pairs = read_pairs("pairs.csv", columns={"text1": "title", "text2": "candidate"})
        >>> parts = split_pairs(pairs, validation=0.25, test=0.25, seed=0)
        >>> {name: len(part) for name, part in parts.items()}
        {'train': 20, 'validation': 10, 'test': 10}
    """
    from datasets import DatasetDict

    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UsageError(f"validation={validation}, test={test}: shares must be 0 or more, and their sum below 1")
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    shares = {part: share for part, share in shares.items() if share > 0}
    if by not in (None, *BY):
        raise UsageError(f"by={by!r}: must be one of {', '.join(BY)}, or omitted so that no text is shared")
    require_texts(dataset)
    if not len(dataset):
        raise DataError("there are no rows to split")
    component = _blocks(dataset, by)
    wanted = np.array(list(shares.values()))
    part_of_row = assign_parts(_class_counts(dataset, component), wanted, seed)[component]
    rows = {part: np.flatnonzero(part_of_row == index) for index, part in enumerate(shares)}
    _check_sizes({part: len(found) for part, found in rows.items()}, shares, component, dataset=dataset, by=by)
    return DatasetDict({part: dataset.select(found) for part, found in rows.items()})


def _blocks(dataset: Dataset, by: str | None) -> np.ndarray:
    """Block number of each row, int [N]; the rows of a block are in the same part."""
    if by is None:
        return components(dataset)
    left = [("text", word_key(text)) for text in dataset["text2" if by == "text2" else "text1"][:]]
    if by != "group":
        keys = left
    elif "group" in dataset.column_names:
        groups = dataset["group"][:]
        keys = [text if group is None else ("group", group) for text, group in zip(left, groups, strict=True)]
    else:
        known = ", ".join(OTHER_ALIASES["group"])
        raise DataError(f"no group column to split by; known names: {known}; choose another with --columns group=NAME")
    numbers: dict[tuple[str, str], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def components(dataset: Dataset) -> np.ndarray:
    """Component number of each row, int [N]; equal for rows that share a text or a group, directly or through other rows."""
    columns: list[Sequence[Hashable]] = [*text_keys(dataset)]
    if "group" in dataset.column_names:
        columns.append([None if group is None else ("group", group) for group in dataset["group"][:]])
    return connected_rows(columns)


def text_keys(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Keys of left and right texts [N]: equal for texts with equal letters and digits (`word_key`)."""
    left, right = sides_of(dataset)
    return [word_key(text) for text in left], [word_key(text) for text in right]


def connected_rows(columns: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Component number of each row, int [N]; equal for rows that share a value, directly or through other rows.

    columns: each [N]; equal values in different columns connect rows too, None connects nothing.
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
    """Row counts [components, 3]: labelled 0, labelled 1, unlabelled."""
    label = labels_of(dataset)
    kind = np.where(label < 0, 2, label)
    counts = np.bincount(component * 3 + kind, minlength=(component.max() + 1) * 3)
    return counts.reshape(-1, 3)


def assign_parts(counts: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Assign a part to each component, largest first, to where the distance from the requested sizes grows least.

    The distance is the sum over parts and classes of (rows - target)^2 / target, so sizes and label balance count equally.
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


def _check_sizes(
    sizes: dict[str, int], shares: dict[str, float], component: np.ndarray, *, dataset: Dataset, by: str | None
) -> None:
    total = len(component)
    if all(sizes[part] and sizes[part] >= MIN_ROWS_OF_SHARE * share * total for part, share in shares.items()):
        return
    per_component = np.bincount(component)
    largest, count = int(per_component.max()), len(np.unique(component))
    if largest == 1:
        raise DataError(f"{total} rows are too few to be split into {', '.join(shares)}; use more rows")
    requested = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
    blocks = "1 block" if count == 1 else f"{count} blocks"
    suggestion = _suggestion(dataset, by)
    raise DataError(
        f"{total} rows cannot be split into {requested}: connected by {by or 'shared texts'} they form {blocks}, the "
        f"largest of {largest} rows ({largest / total:.0%}), and a block is never divided. {suggestion}"
        f"{'Else use' if suggestion else 'Use'} more rows, other shares, or remove the texts (or the group column) that "
        "connect the rows"
    )


def _suggestion(dataset: Dataset, by: str | None) -> str:
    """Suggest another `by` that would succeed, for data whose other side is shared by design."""
    for side, other in (("text1", "text2"), ("text2", "text1")):
        if by is None and np.bincount(_blocks(dataset, side)).max() <= _SMALL_BLOCK * len(dataset):
            return (
                f"If rows share their {other} by design, as questions share the entries of an FAQ, split by {side} "
                f"(--by {side}): then no {side} is in two parts. "
            )
    return ""
