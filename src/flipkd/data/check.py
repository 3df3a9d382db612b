"""Checks of pairs before a model is loaded: counts, warnings, and problems that stop training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd.data.columns import OTHER_ALIASES
from flipkd.data.folding import spelling_key
from flipkd.data.labels import labels_of
from flipkd.data.pairs import require_texts, sides_of
from flipkd.errors import DataError
from flipkd.text import is_empty

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = 5
FEWEST_PER_CLASS = 2
_CHUNK = 1000


@dataclass(frozen=True)
class CheckReport:
    """Result of `check_pairs`: `problems` stop training, `warnings` do not; rows are counted from 1."""

    name: str
    counts: dict[str, Any]
    problems: list[str]
    warnings: list[str]

    def table(self) -> list[tuple[str, str]]:
        """Return the counts as rows (description, formatted number)."""
        return [(key.replace("_", " "), _formatted(value)) for key, value in self.counts.items()]


def check_pairs(
    dataset: Dataset,
    *,
    name: str = "data",
    tokenizer: Any | None = None,
    directed: bool = False,
    labels: bool = True,
) -> CheckReport:
    """Count what matters for training in pairs from `read_pairs`; nothing is changed or removed.

    `tokenizer(texts, add_special_tokens=False)["input_ids"]` adds lengths in tokens. Two pairs are duplicates if both
    texts have the same spelling (`spelling_key`), in either order; labels conflict if the texts are equal as written. For
    `directed` pairs (a follows from b, but b may not follow from a) the order matters. With `labels` False, missing labels
    are not a problem.

    Examples:
        >>> from flipkd import check_pairs, read_pairs
        >>> report = check_pairs(read_pairs("train.csv"), name="train.csv")
        >>> report.problems
        []
        >>> report.counts["rows"]
        48
    """
    require_texts(dataset)
    left, right = sides_of(dataset)
    label = labels_of(dataset)
    report = CheckReport(name, counts={}, problems=[], warnings=[])
    _count_classes(report, label)
    if labels and (problem := _class_problem(dataset, report.counts)):
        report.problems.append(problem)
    _count_empty_texts(report, left, right)
    _count_duplicates(report, left, right, label, directed=directed)
    report.counts.update(distinct_text1=len({*left}), distinct_text2=len({*right}))
    _count_lengths(report, "characters", [len(text) for text in left], [len(text) for text in right])
    if tokenizer is not None:
        _count_lengths(report, "tokens", _token_counts(left, tokenizer), _token_counts(right, tokenizer))
    return report


def require_trainable(report: CheckReport) -> None:
    """Raise DataError with all problems of the report, if it has any."""
    if report.problems:
        listed = "; ".join(report.problems)
        raise DataError(f"{report.name}: cannot be used: {listed}")


def _count_classes(report: CheckReport, label: np.ndarray) -> None:
    rows, positive, negative = len(label), int((label == 1).sum()), int((label == 0).sum())
    labelled = positive + negative
    report.counts.update(
        rows=rows,
        labelled=labelled,
        unlabelled=rows - labelled,
        positive=positive,
        negative=negative,
        positive_share=positive / labelled if labelled else None,
    )


def _class_problem(dataset: Dataset, counts: dict[str, Any]) -> str | None:
    """Return why a model cannot be trained on these labels; None if it can."""
    if "label" not in dataset.column_names:
        known = ", ".join(OTHER_ALIASES["label"])
        return f"no label column; known names: {known}; choose another with --columns label=NAME"
    positive, negative = counts["positive"], counts["negative"]
    needed = f"at least {FEWEST_PER_CLASS} rows of each class are needed"
    if not counts["rows"]:
        return "there are no rows"
    if not counts["labelled"]:
        return f"no row is labelled; {needed}"
    if not positive or not negative:
        only = "1 (match)" if positive else "0 (no match)"
        return f"only one class: all {counts['labelled']} labelled rows are {only}; {needed}"
    if min(positive, negative) < FEWEST_PER_CLASS:
        return f"rows with label 1 (match): {positive}, with label 0 (no match): {negative}; {needed}"
    return None


def _count_empty_texts(report: CheckReport, left: list[str], right: list[str]) -> None:
    empty = np.array([[is_empty(text) for text in left], [is_empty(text) for text in right]], bool)
    count = int(empty.sum())
    report.counts["empty_texts"] = count
    if count:
        rows = (np.flatnonzero(empty.any(axis=0)) + 1).tolist()
        report.problems.append(f"empty texts: {count} (row {_examples(rows)}); fill or remove these rows")


def _count_duplicates(
    report: CheckReport, left: list[str], right: list[str], label: np.ndarray, *, directed: bool
) -> None:
    numbers = partial(_pair_numbers, left, right, directed=directed)
    same_spelling, as_written = numbers(spelling_key), numbers(str)
    conflicting, differing = _with_both_labels(as_written, label), _with_both_labels(same_spelling, label)
    differing = differing[~np.isin(same_spelling[differing[:, 0]], same_spelling[conflicting[:, 0]])]
    _, firsts = np.unique(same_spelling, return_index=True)
    duplicate_rows = np.setdiff1d(np.arange(len(label)), firsts) + 1
    identical = np.flatnonzero([spelling_key(a) == spelling_key(b) for a, b in zip(left, right, strict=True)]) + 1
    report.counts.update(
        duplicate_pairs=len(duplicate_rows), conflicting_pairs=len(conflicting), identical_sides=len(identical)
    )
    if len(conflicting):
        reversed_order = any(left[one] != left[other] for one, other in conflicting.tolist())
        direction = "; where (a, b) may match and (b, a) not, set directed: true" if reversed_order else ""
        report.problems.append(
            f"pairs with both labels: {len(conflicting)} (rows {_row_pairs(conflicting)}); keep one label for each "
            f"pair{direction}"
        )
    if len(differing):
        report.warnings.append(
            f"pairs with both labels that differ only in case, width or spaces: {len(differing)} (rows "
            f"{_row_pairs(differing)})"
        )
    if len(duplicate_rows):
        report.warnings.append(
            f"duplicates of an earlier pair: {len(duplicate_rows)} (row {_examples(duplicate_rows.tolist())})"
        )
    if len(identical):
        report.warnings.append(f"pairs of two equal texts: {len(identical)} (row {_examples(identical.tolist())})")


def _pair_numbers(left: list[str], right: list[str], fold: Callable[[str], str], *, directed: bool) -> np.ndarray:
    """Number of each pair, int64 [N]; equal for pairs with equal folded texts, in either order unless `directed`."""
    ids: dict[str, int] = {}
    sides = np.array([[ids.setdefault(fold(text), len(ids)) for text in side] for side in (left, right)], np.int64)
    first, second = sides if directed else (sides.min(axis=0), sides.max(axis=0))
    return np.asarray(first * len(ids) + second)


def _with_both_labels(pairs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Row indices [P, 2], sorted: for each pair with both labels, the first row of each label."""
    first: list[dict[int, int]] = []
    for y in (0, 1):
        rows = np.flatnonzero(label == y)[::-1]  # reversed, so that the first row of a pair overwrites the others
        first.append(dict(zip(pairs[rows].tolist(), rows.tolist(), strict=True)))
    found = sorted(sorted(rows[pair] for rows in first) for pair in first[0].keys() & first[1].keys())
    return np.array(found, np.int64).reshape(-1, 2)


def _row_pairs(found: np.ndarray) -> str:
    return _examples([f"{one} and {other}" for one, other in (found[:EXAMPLES] + 1).tolist()], total=len(found))


def _token_counts(texts: list[str], tokenizer: Any) -> list[int]:
    counts: dict[str, int] = dict.fromkeys(texts, 0)
    unique = list(counts)
    for start in range(0, len(unique), _CHUNK):
        part = unique[start : start + _CHUNK]
        tokens = tokenizer(part, add_special_tokens=False)["input_ids"]
        counts.update(zip(part, map(len, tokens), strict=True))
    return [counts[text] for text in texts]


def _count_lengths(report: CheckReport, unit: str, left: list[int], right: list[int]) -> None:
    for side, lengths in (("text1", left), ("text2", right)):
        mean = round(float(np.mean(lengths)), 1) if lengths else None
        p95 = int(np.quantile(lengths, 0.95, method="higher")) if lengths else None
        found = {"mean": mean, "p95": p95, "max": max(lengths, default=None)}
        report.counts.update({f"{side}_{unit}_{name}": value for name, value in found.items()})


def _examples(rows: list[Any], *, total: int | None = None) -> str:
    more = (total or len(rows)) > EXAMPLES
    return ", ".join(str(row) for row in rows[:EXAMPLES]) + (", ..." if more else "")


def _formatted(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1 else f"{value:,}"
