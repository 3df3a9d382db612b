"""Errors by pair: pairs with different decisions, pairs with wrong decisions, and metrics by text length."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.report.comparison import Comparison, RunScores
from flipkd.report.curves import probabilities

MAX_EXAMPLES = 300
QUARTERS = 4


def who_is_right(comparison: Comparison, runs: Sequence[RunScores]) -> list[dict[str, Any]]:
    """Count, for every two runs, the test pairs on which both, only the first, only the second or neither is right."""
    right = [run.matches == (comparison.label == 1) for run in runs]
    return [
        {
            "first": runs[a].name,
            "second": runs[b].name,
            "both": int((right[a] & right[b]).sum()),
            "only_first": int((right[a] & ~right[b]).sum()),
            "only_second": int((~right[a] & right[b]).sum()),
            "neither": int((~right[a] & ~right[b]).sum()),
        }
        for a, b in combinations(range(len(runs)), 2)
    ]


def mistakes(comparison: Comparison, runs: Sequence[RunScores]) -> tuple[list[dict[str, Any]], int]:
    """Return test pairs with a wrong decision of a run, most confident error first, and their total number.

    wrong: indices of the wrong runs; opinions: per run match, right, probability.
    """
    label = comparison.label == 1
    wrong = np.stack([run.matches != label for run in runs])
    probability = np.stack([probabilities(comparison, run) for run in runs])
    rows = np.flatnonzero(wrong.any(axis=0))
    surest = np.where(wrong, np.abs(probability - label), 0).max(axis=0)
    found = []
    for row in rows[np.argsort(-surest[rows], kind="stable")][:MAX_EXAMPLES]:
        opinions = [
            {"match": bool(label[row] ^ error), "right": not error, "probability": float(value)}
            for error, value in zip(wrong[:, row], probability[:, row], strict=True)
        ]
        texts = {"text1": comparison.text1[row], "text2": comparison.text2[row], "label": bool(label[row])}
        found.append(texts | {"wrong": np.flatnonzero(wrong[:, row]).tolist(), "opinions": opinions})
    return found, len(rows)


def by_length(comparison: Comparison) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return quarters of the test pairs by characters of both texts, and per name F1 and accuracy in each, mean over seeds.

    Keys of a quarter: from, to, pairs, positives. Pairs of equal length stay together, so there may be fewer than four. F1
    is None in a quarter without a match.
    """
    length = np.array([len(a) + len(b) for a, b in zip(comparison.text1, comparison.text2, strict=True)])
    cuts = np.unique(np.quantile(length, np.arange(1, QUARTERS) / QUARTERS, method="higher"))
    bin_index = np.searchsorted(cuts, length, side="right")
    groups = [bin_index == k for k in np.unique(bin_index)]
    quarters = [
        {
            "from": int(length[group].min()),
            "to": int(length[group].max()),
            "pairs": int(group.sum()),
            "positives": int(comparison.label[group].sum()),
        }
        for group in groups
    ]
    rows = [
        {"name": name, "cells": [_group_metrics(comparison, comparison.runs_of(name), group) for group in groups]}
        for name in comparison.names
    ]
    return quarters, rows


def _group_metrics(
    comparison: Comparison, runs: Sequence[RunScores], group: NDArray[np.bool_]
) -> dict[str, float | None]:
    label = comparison.label[group]
    matches = np.stack([run.matches[group] for run in runs])
    positives = int(label.sum())
    f1 = 2 * (matches @ label) / np.maximum(matches.sum(axis=1) + positives, 1)
    return {"f1": float(f1.mean()) if positives else None, "accuracy": float((matches == (label == 1)).mean())}
