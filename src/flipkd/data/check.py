"""What is wrong with pairs, before a model is loaded: counts, warnings, and problems that stop training."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd.data.columns import OTHER_ALIASES
from flipkd.errors import DataError
from flipkd.text import is_empty

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = 5
FEWEST_PER_CLASS = 2
_CHUNK = 1000


@dataclass(frozen=True)
class CheckReport:
    """What `check_pairs` found: `problems` stop training, `warnings` do not; rows are counted from 1."""

    name: str
    counts: dict[str, Any]
    problems: list[str]
    warnings: list[str]

    def table(self) -> list[tuple[str, str]]:
        """Counts as (words, figure), in the order in which they are read."""
        return [(key.replace("_", " "), _shown(value)) for key, value in self.counts.items()]


def check_pairs(
    dataset: Dataset, *, name: str = "data", tokenizer: Any | None = None, labels: bool = True
) -> CheckReport:
    """Count what matters for training in pairs as `read_pairs` gives them; nothing is changed or dropped.

    `tokenizer(texts, add_special_tokens=False)["input_ids"]` adds lengths in tokens. A pair is a duplicate of another
    when both texts agree after NFKC, case folding and white-space folding, in either order. `labels` False: a lack of them
    is no problem.
    """
    left, right = dataset["text1"][:], dataset["text2"][:]
    label = _labels(dataset)
    counts, problems, warnings = _class_counts(label)
    if not labels:
        problems = []
    elif "label" not in dataset.column_names:
        known = ", ".join(OTHER_ALIASES["label"])
        problems = [f"it has no label column; known names: {known}; choose another with --columns label=NAME"]
    for found in (_empty_texts(left, right), _repeats(left, right, label)):
        counts |= found[0]
        problems += found[1]
        warnings += found[2]
    counts |= _lengths("characters", {"text1": [len(text) for text in left], "text2": [len(text) for text in right]})
    if tokenizer is not None:
        counts |= _lengths(
            "tokens", {"text1": _token_counts(left, tokenizer), "text2": _token_counts(right, tokenizer)}
        )
    return CheckReport(name, counts, problems, warnings)


def require_trainable(report: CheckReport) -> None:
    """Raise DataError listing every problem, unless there is none."""
    if report.problems:
        listed = "; ".join(report.problems)
        raise DataError(f"{report.name}: cannot be used: {listed}")


def _labels(dataset: Dataset) -> np.ndarray:
    """int64 [N], -1 where unlabelled."""
    if "label" not in dataset.column_names:
        return np.full(len(dataset), -1, np.int64)
    return np.array([-1 if label is None else label for label in dataset["label"][:]], np.int64)


def _class_counts(label: np.ndarray) -> tuple[dict[str, Any], list[str], list[str]]:
    rows, positive, negative = len(label), int((label == 1).sum()), int((label == 0).sum())
    labelled = positive + negative
    counts = {
        "rows": rows,
        "labelled": labelled,
        "unlabelled": rows - labelled,
        "positive": positive,
        "negative": negative,
        "positive_share": positive / labelled if labelled else None,
    }
    needed = f"at least {FEWEST_PER_CLASS} rows of each class are needed"
    if not rows:
        return counts, ["there are no rows"], []
    if not labelled:
        return counts, [f"no row is labelled; {needed}"], []
    if not positive or not negative:
        only = "1 (match)" if positive else "0 (no match)"
        return counts, [f"only one class: all {labelled} labelled rows are {only}; {needed}"], []
    if min(positive, negative) < FEWEST_PER_CLASS:
        return counts, [f"{positive} rows are 1 (match) and {negative} are 0 (no match); {needed}"], []
    return counts, [], []


def _empty_texts(left: list[str], right: list[str]) -> tuple[dict[str, Any], list[str], list[str]]:
    empty = np.array([[is_empty(text) for text in left], [is_empty(text) for text in right]], bool)
    count = int(empty.sum())
    rows = (np.flatnonzero(empty.any(axis=0)) + 1).tolist()
    told = (
        f"{count} {'text is' if count == 1 else 'texts are'} empty (row {_examples(rows)}); fill or remove these rows"
    )
    problems = [told] if count else []
    return {"empty_texts": count}, problems, []


def _repeats(left: list[str], right: list[str], label: np.ndarray) -> tuple[dict[str, Any], list[str], list[str]]:
    ids: dict[str, int] = {}
    sides = np.array([[ids.setdefault(_folded(text), len(ids)) for text in side] for side in (left, right)], np.int64)
    pairs = sides.min(axis=0) * len(ids) + sides.max(axis=0)
    _, pair, sizes = np.unique(pairs, return_inverse=True, return_counts=True)
    ones = np.bincount(pair, weights=label == 1, minlength=len(sizes))
    zeros = np.bincount(pair, weights=label == 0, minlength=len(sizes))
    conflicting = np.flatnonzero((ones > 0) & (zeros > 0))
    identical = np.flatnonzero(sides[0] == sides[1]) + 1
    counts = {
        "duplicate_pairs": len(pair) - len(sizes),
        "conflicting_pairs": len(conflicting),
        "identical_sides": len(identical),
    }
    problems, warnings = [], []
    if len(conflicting):
        # of each pair the first row of either label
        first = sorted(
            sorted(int(np.argmax((pair == p) & (label == y))) + 1 for y in (0, 1)) for p in conflicting[:EXAMPLES]
        )
        examples = _examples([f"{one} and {other}" for one, other in first], total=len(conflicting))
        problems.append(
            f"{len(conflicting)} pairs stand there with both labels (rows {examples}); keep one label each"
        )
    if counts["duplicate_pairs"]:
        _, firsts = np.unique(pairs, return_index=True)
        rows = (np.setdiff1d(np.arange(len(pair)), firsts) + 1).tolist()
        warnings.append(f"{len(rows)} rows repeat an earlier pair (row {_examples(rows)})")
    if len(identical):
        warnings.append(
            f"{len(identical)} rows have the same text on both sides (row {_examples(identical.tolist())})"
        )
    return counts, problems, warnings


def _folded(text: str) -> str:
    return " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold().split())


def _token_counts(texts: list[str], tokenizer: Any) -> list[int]:
    counts: dict[str, int] = dict.fromkeys(texts, 0)
    unique = list(counts)
    for start in range(0, len(unique), _CHUNK):
        part = unique[start : start + _CHUNK]
        tokens = tokenizer(part, add_special_tokens=False)["input_ids"]
        counts.update(zip(part, map(len, tokens), strict=True))
    return [counts[text] for text in texts]


def _lengths(unit: str, sides: dict[str, list[int]]) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for side, lengths in sides.items():
        known = bool(lengths)
        counts[f"{side}_{unit}_mean"] = round(float(np.mean(lengths)), 1) if known else None
        counts[f"{side}_{unit}_p95"] = int(np.quantile(lengths, 0.95, method="higher")) if known else None
        counts[f"{side}_{unit}_max"] = max(lengths) if known else None
    return counts


def _examples(rows: list[Any], *, total: int | None = None) -> str:
    more = (total or len(rows)) > EXAMPLES
    return ", ".join(str(row) for row in rows[:EXAMPLES]) + (", ..." if more else "")


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1 else f"{value:,}"
