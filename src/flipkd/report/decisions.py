"""Decisions at a threshold: precision, recall and confusion counts, at the run's threshold and at any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.report.comparison import Comparison, RunScores, spread
from flipkd.report.words import escape_invisible

MAX_STEPS = 200  # of the threshold slider
COUNTS = ("found", "missed", "false_alarms", "rejected")


def always_match_f1(positives: int, pairs: int) -> float | None:
    """Return F1 of deciding match for every pair; None without a positive pair."""
    return 2 * positives / (pairs + positives) if positives else None


def decision_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return per name precision and recall with the values of `spread`, and the four counts as means over the seeds."""
    rows = []
    for name in comparison.names:
        counts = [_counts(run.matches, comparison.label) for run in comparison.runs_of(name)]
        found, missed, false_alarms, _ = np.array(counts, np.float64).T
        row: dict[str, Any] = dict(zip(COUNTS, np.mean(counts, axis=0).tolist(), strict=True))
        row["precision"] = spread((found / np.maximum(found + false_alarms, 1)).tolist())
        row["recall"] = spread((found / np.maximum(found + missed, 1)).tolist())
        rows.append({"name": name} | row)
    return rows


def _counts(matches: NDArray[np.bool_], label: NDArray[np.int64]) -> tuple[int, int, int, int]:
    """Return true positives, false negatives, false positives and true negatives."""
    found = int((matches & (label == 1)).sum())
    called, positives = int(matches.sum()), int(label.sum())
    return found, positives - found, called - found, len(label) - called - positives + found


def explorer(comparison: Comparison, runs: Sequence[RunScores]) -> dict[str, Any]:
    """Return rising thresholds of each run, with the number of pairs and of matches at or above each threshold.

    `own` and `review` are the indices of the run's own thresholds; the last threshold is above all scores. `shown` is the index
    of the flipped student, or of the last run without one.
    """
    systems = []
    for run in runs:
        score = np.sort(run.test[run.score].astype(np.float64))
        matches = np.sort(run.test[run.score][comparison.label == 1].astype(np.float64))
        steps = np.quantile(score, np.linspace(0, 1, MAX_STEPS), method="nearest")
        review = run.threshold if run.review_threshold is None else run.review_threshold
        cuts = np.unique([*steps, run.threshold, review, np.nextafter(max(score[-1], run.threshold), np.inf)])
        systems.append(
            {
                "name": escape_invisible(run.name),
                "cuts": [float(f"{cut:.5g}") for cut in cuts],
                "called": (len(score) - np.searchsorted(score, cuts)).tolist(),
                "hits": (len(matches) - np.searchsorted(matches, cuts)).tolist(),
                "own": int(np.searchsorted(cuts, run.threshold)),
                "review": int(np.searchsorted(cuts, review)),
            }
        )
    names = [run.name for run in runs]
    main = comparison.main_name("flipped")
    counts = {"pairs": len(comparison.label), "matches": int(comparison.label.sum())}
    return counts | {"systems": systems, "shown": names.index(main) if main in names else len(names) - 1}
