"""Choice of the pairs that people see: those to review, and a share of the others that depends on their texts alone.

A hash of its texts decides whether a pair is chosen, so every process chooses the same pairs. The share is stored with the pair:
weights of 1 / share make estimates of all scored pairs from the labelled ones (Horvitz and Thompson, 1952).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flipkd.text import normal_text

Reason = Literal["review", "disagreement", "sample"]
REVIEW: Reason = "review"
DISAGREEMENT: Reason = "disagreement"
SAMPLE: Reason = "sample"
HEX = 15  # digits of a hash that make one number, which SQLite's signed integers of 64 bits hold


@dataclass(frozen=True)
class ScoredPair:
    """A pair with its result.

    `teacher_score` is None where no teacher scored it; `disagrees` is true where a sure teacher makes another decision.
    """

    text1: str
    text2: str
    score: float
    probability: float
    decision: str
    teacher_score: float | None = None
    disagrees: bool = False


@dataclass(frozen=True)
class Choice:
    """A chosen pair with its key, why it was chosen, and the share of such pairs that is chosen."""

    pair: ScoredPair
    key: str
    reason: Reason
    sampled: float


def pair_key(text1: str, text2: str) -> str:
    """Return the sha256 of both texts in their normal form (flipkd/text.py), as hex: equal for duplicates of a pair."""
    return hashlib.sha256(json.dumps([normal_text(text1), normal_text(text2)]).encode()).hexdigest()


def shuffle_number(key: str) -> int:
    """Return a number that puts pairs in random order, from other digits of the key than the choice."""
    return int(key[HEX : 2 * HEX], 16)


def chosen(pairs: Iterable[ScoredPair], *, share: float) -> list[Choice]:
    """Choose all pairs to review, all with a disagreement, and about `share` of the others."""
    found = []
    for pair in pairs:
        sure = pair.decision != REVIEW and not pair.disagrees
        if sure and not share:
            continue
        key = pair_key(pair.text1, pair.text2)
        if not sure:
            found.append(Choice(pair, key, REVIEW if pair.decision == REVIEW else DISAGREEMENT, 1.0))
        elif int(key[:HEX], 16) < share * 16**HEX:
            found.append(Choice(pair, key, SAMPLE, share))
    return found
