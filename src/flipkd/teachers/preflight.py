"""Preflight check: compare teacher and student on validation pairs before the student is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flipkd.errors import DataError
from flipkd.evaluate.fidelity import rank_correlation
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.rows import finite_column

# With fewer pairs a difference between teacher and student is mostly chance.
FEWEST_PAIRS, FEWEST_PER_CLASS = 100, 20
FEWEST_FOR_METRICS = 2  # of each class, the minimum for a threshold
LEAST_AUC, LEAST_AP_GAIN = 0.55, 0.05
# A score is saturated if its distance from the lowest or highest score is at most this share of the range.
SATURATED_WITHIN, MOST_SATURATED = 1e-3, 0.5
REMEDY = "fine-tune it (flipkd teach), give it more training pairs, or choose another teacher"
KEPT = ("f1", "average_precision", "roc_auc")


def too_few(positive: int, negative: int) -> bool:
    """Return whether so many labelled validation pairs are too few to choose anything on them."""
    return positive + negative < FEWEST_PAIRS or min(positive, negative) < FEWEST_PER_CLASS


def preflight(
    *,
    teacher_scores: Sequence[float] | np.ndarray,
    student_scores: Sequence[float] | np.ndarray,
    labels: Sequence[int | None] | np.ndarray,
) -> dict[str, Any]:
    """Measure teacher and student on the same validation pairs; the report has metrics and warnings.

    All arguments are [N]; pairs whose label is None or NaN are ignored. F1 uses the best threshold on these pairs, so it is
    too high for both. Undefined metrics are None. `agreement` is the Spearman rank correlation of the two scores. Raises
    DataError (lengths), NumbersError (scores that are not finite).
    """
    truth = np.array(labels, dtype=np.float64)
    known = ~np.isnan(truth)
    scores = {
        "teacher": _checked(teacher_scores, truth, "teacher"),
        "student": _checked(student_scores, truth, "student"),
    }
    kept = {name: values[known] for name, values in scores.items()}
    label = truth[known].astype(np.int64)
    report: dict[str, Any] = {
        "n": len(label),
        "positive_share": float(label.mean()) if len(label) else None,
        **{name: _profile(values, label) for name, values in kept.items()},
        "agreement": rank_correlation(kept["teacher"], kept["student"]),
    }
    report["warnings"] = _warnings(report, label)
    return report


def _checked(scores: Sequence[float] | np.ndarray, truth: np.ndarray, who: str) -> np.ndarray:
    values = finite_column(scores, what=f"{who} scores")
    if values.shape != truth.shape:
        raise DataError(
            f"{who} scores have shape {values.shape}, labels {truth.shape}; both must be [N], one number per pair"
        )
    return values


def _profile(scores: np.ndarray, label: np.ndarray) -> dict[str, float | None]:
    """Metrics, range, spread and saturated share of one model's scores."""
    rarer = min(label.sum(), len(label) - label.sum())
    metrics = measure(scores, label) if rarer >= FEWEST_FOR_METRICS else {}
    profile: dict[str, float | None] = {name: metrics.get(name) for name in KEPT}
    if not len(scores):
        return {**profile, "min": None, "max": None, "std": None, "saturated": None}
    low, high = float(scores.min()), float(scores.max())
    within = SATURATED_WITHIN * (high - low)
    saturated = float(((scores <= low + within) | (scores >= high - within)).mean())
    return {**profile, "min": low, "max": high, "std": float(scores.std()), "saturated": saturated}


def _warnings(report: dict[str, Any], label: np.ndarray) -> list[str]:
    teacher, student, share = report["teacher"], report["student"], report["positive_share"]
    positive, negative = int(label.sum()), int((1 - label).sum())
    if positive == 0 or negative == 0:
        return [f"the {len(label)} labelled validation pairs have only one class, so the teacher cannot be measured"]
    found = []
    if too_few(positive, negative):
        found.append(
            f"too few labelled validation pairs: {positive} positive, {negative} negative; "
            f"use at least {FEWEST_PAIRS}, and {FEWEST_PER_CLASS} of each class"
        )
    if teacher["average_precision"] is None:
        return found
    if teacher["min"] == teacher["max"]:
        return [*found, f"the teacher cannot help: it gives every pair the score {teacher['min']:g}"]
    precision, area = teacher["average_precision"], teacher["roc_auc"]
    weak = [f"AUC {area:.3f}, random scores have 0.5"] if area < LEAST_AUC else []
    # With many positives the fixed gain is not reachable, so at most a tenth of the remaining distance to 1 is required.
    if precision < share + min(LEAST_AP_GAIN, (1 - share) / 10):
        weak.append(f"average precision {precision:.3f}, random scores have {share:.3f}")
    if area < 1 - LEAST_AUC:
        found.append(
            f"the teacher ranks in reverse order (AUC {area:.3f}): are the scores distances instead of similarities?"
        )
    elif weak:
        found.append(f"the teacher is hardly better than chance: {'; '.join(weak)}; {REMEDY}")
    if precision <= student["average_precision"]:
        found.append(
            f"the teacher is not better than the student before training (average precision {precision:.3f} against "
            f"{student['average_precision']:.3f}); {REMEDY}"
        )
    if teacher["saturated"] > MOST_SATURATED:
        found.append(
            f"{teacher['saturated']:.0%} of the teacher's scores are at an end of their range: "
            "use raw logits instead of probabilities"
        )
    return found
