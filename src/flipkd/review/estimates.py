"""Estimates of all pairs that were scored, from the ones that people labelled: the share of matches, by decision and in all.

Pairs are grouped by decision and by how they came into the queue. A queued pair represents seen / sampled scored pairs, which
estimates the size of each group; the share of matches in it is that of its labelled pairs. The estimate holds when the labelled
pairs of a group are a random part of it, as they are on the page and with `--select random`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from flipkd.review.agreement import final_label
from flipkd.review.queue import QueuedPair
from flipkd.review.sampling import SAMPLE


@dataclass(frozen=True)
class Group:
    """Pairs with one decision and one way into the queue."""

    decision: str
    reason: str
    pairs: int
    represents: float
    """Number of scored pairs that they represent."""
    labelled: int
    matches: float | None
    """Share of matches, weighted; None without labels."""
    variance: float
    """Of `matches`."""
    size_variance: float
    """Of `represents`: 0 where every pair is queued (Horvitz and Thompson, 1952)."""


def groups_of(pairs: Sequence[QueuedPair], *, unanimous: bool = False) -> list[Group]:
    """Group the pairs by decision and reason, and estimate the share of matches in each group."""
    found: dict[tuple[str, str], list[QueuedPair]] = {}
    for pair in pairs:
        found.setdefault((pair.decision, pair.reason), []).append(pair)
    return [_group(*names, members, unanimous=unanimous) for names, members in sorted(found.items())]


def _group(decision: str, reason: str, members: list[QueuedPair], *, unanimous: bool) -> Group:
    known = [(pair.weight, label) for pair in members if (label := final_label(pair, unanimous=unanimous)) is not None]
    share, variance = None, 0.0
    if known:
        weight, label = np.array(known, np.float64).T
        share = float(weight @ label / weight.sum())
        size = weight.sum() ** 2 / (weight @ weight)  # of equal weights: the number of pairs
        smooth = (share * size + 1) / (size + 2)  # a share of 0 or 1 in few pairs is not certain
        variance = smooth * (1 - smooth) / size
    represents = sum(pair.weight for pair in members)
    size_variance = sum(pair.weight**2 * (1 - pair.sampled) for pair in members)
    return Group(decision, reason, len(members), represents, len(known), share, variance, size_variance)


def base_rate(groups: Sequence[Group]) -> tuple[float, float] | None:
    """Estimate the share of matches among all scored pairs, with its standard error.

    The error has two parts: that of the share in each group, and that of the sizes of the sampled groups, by the delta method.
    None when a group has no label, or when no sure pair was sampled, so that nothing is known of most scored pairs.
    """
    if not any(group.reason == SAMPLE for group in groups):
        return None
    total = sum(group.represents for group in groups)
    known = [(group, group.matches) for group in groups if group.matches is not None]
    if len(known) < len(groups):
        return None
    share = sum(group.represents * matches for group, matches in known) / total
    squares = sum(
        group.represents**2 * group.variance + group.size_variance * (matches - share) ** 2 for group, matches in known
    )
    return share, sqrt(squares) / total
