"""ColumnTeacher, a column of given scores as teacher: scores are looked up by pair."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from flipkd.errors import DataError
from flipkd.teachers.keys import pair_key
from flipkd.teachers.teacher import fingerprint_of


class ColumnTeacher:
    """ScoreTeacher for pairs with given scores (left, right, scores: all [N], on any scale).

    A score of None is missing. Raises DataError if the lengths differ, a score is not finite or a pair has two different
    scores; rows are counted from 0.
    """

    def __init__(self, left: Sequence[str], right: Sequence[str], scores: Sequence[float | None]) -> None:
        if not len(left) == len(right) == len(scores):
            raise DataError(
                f"{len(left)} left texts, {len(right)} right texts, {len(scores)} scores; the numbers must be equal"
            )
        self._scores: dict[bytes, np.float32] = {}
        for row, (a, b, score) in enumerate(zip(left, right, scores, strict=True)):
            if score is None:
                continue
            value = np.float32(score)
            if not np.isfinite(value):
                raise DataError(
                    f"row {row}: teacher score {score!r} is not a finite number; leave it empty if the pair has no score"
                )
            if self._scores.setdefault(pair_key(a, b), value) != value:
                raise DataError(f"row {row}: duplicate pair with a different teacher score; keep one of the two")
        digest = hashlib.sha256()
        for key, value in sorted(self._scores.items()):
            digest.update(key + value.tobytes())
        self._description = {"name": "scores", "kind": "scores", "scale": "as given", "scores": digest.hexdigest()}
        self.fingerprint = fingerprint_of(self._description)

    def describe(self) -> dict[str, Any]:
        """Return a description for JSON, with a hash of the scores."""
        return {**self._description, "pairs": len(self._scores)}

    def score(self, left: Sequence[str], right: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Look up scores [N], float32. Raises DataError with the position of the first pair without a score."""
        found = [self._scores.get(pair_key(a, b)) for a, b in zip(left, right, strict=True)]
        missing = [row for row, value in enumerate(found) if value is None]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(found)} pairs have no teacher score, first at position {missing[0]}"
            )
        return np.array(found, dtype=np.float32)
