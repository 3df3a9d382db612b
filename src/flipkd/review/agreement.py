"""Agreement of annotators, and the one label that their votes make."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from flipkd.review.queue import QueuedPair


def final_label(pair: QueuedPair, *, unanimous: bool = False) -> int | None:
    """Return the label of the majority, or with `unanimous` the one that all gave; None for a tie, a conflict or no label."""
    labels = pair.labels
    matches = sum(labels)
    if not labels or (unanimous and 0 < matches < len(labels)) or 2 * matches == len(labels):
        return None
    return int(2 * matches > len(labels))


def in_conflict(pair: QueuedPair) -> bool:
    """True when two annotators gave different labels."""
    return len(set(pair.labels)) > 1


def annotators(pairs: Sequence[QueuedPair]) -> dict[str, dict[str, int]]:
    """Count the matches, non-matches and skipped pairs of each annotator."""
    names = {1: "match", 0: "no_match", None: "skipped"}
    counts: dict[str, Counter[str]] = {}
    for pair in pairs:
        for annotator, label in pair.votes.items():
            counts.setdefault(annotator, Counter(dict.fromkeys(names.values(), 0)))[names[label]] += 1
    return {annotator: dict(counts[annotator]) for annotator in sorted(counts)}


def kappas(pairs: Sequence[QueuedPair]) -> list[dict[str, Any]]:
    """Compare each two annotators on the pairs that both labelled: number, share of equal labels, and Cohen's kappa (1960).

    kappa is None where it is not defined: both gave one and the same label to every pair.
    """
    from sklearn.metrics import cohen_kappa_score

    found = []
    for one, other in combinations(annotators(pairs), 2):
        votes = [(pair.votes.get(one), pair.votes.get(other)) for pair in pairs]
        both = [(a, b) for a, b in votes if a is not None and b is not None]
        if not both:
            continue
        first, second = zip(*both, strict=True)
        constant = len({*first, *second}) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kappa = None if constant else float(cohen_kappa_score(first, second, labels=[0, 1]))
        equal = sum(a == b for a, b in both) / len(both)
        found.append({"annotators": [one, other], "pairs": len(both), "equal": equal, "kappa": kappa})
    return found
