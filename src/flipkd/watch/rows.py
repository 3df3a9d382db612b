"""ScoredRows: what is known of N answered pairs, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """N scored pairs; columns that are not known are None, and `label` is -1 for a pair without a label."""

    score: NDArray[np.float64]
    probability: NDArray[np.float64] | None = None
    label: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    text1: Sequence[str] | None = None
    text2: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not len(self.label):
            object.__setattr__(self, "label", np.full(len(self), -1, np.int64))

    def __len__(self) -> int:
        return len(self.score)

    def rows(self, chosen: NDArray[np.int64]) -> ScoredRows:
        """Return the rows with these numbers."""
        values = {column.name: getattr(self, column.name) for column in fields(self)}
        return ScoredRows(**{name: _chosen(column, chosen) for name, column in values.items()})

    def labelled(self) -> ScoredRows:
        """Return the rows with a label."""
        return self.rows(np.flatnonzero(self.label >= 0))

    def sample(self, count: int) -> ScoredRows:
        """Return at most `count` rows, drawn by a fixed seed."""
        if len(self) <= count:
            return self
        return self.rows(np.sort(np.random.default_rng(0).choice(len(self), count, replace=False)))


def _chosen(column: Any, chosen: NDArray[np.int64]) -> Any:
    if column is None or isinstance(column, np.ndarray):
        return None if column is None else column[chosen]
    return [column[row] for row in chosen]
