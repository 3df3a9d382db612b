"""Target, the criterion for a threshold: `f1`, `accuracy`, `precision=0.95`, `recall=0.99`, or a score."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from flipkd.errors import ConfigError, shorten
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.rows import checked_rows
from flipkd.evaluate.thresholds import METRICS, Threshold, best_threshold, threshold_for

RATES = ["precision", "recall"]
NUMBER = "threshold"


@dataclass(frozen=True)
class Target:
    """Criterion for a threshold: the best `metric` (f1, accuracy), a `value` of precision or recall, or a fixed `value`."""

    metric: str
    value: float | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse a target such as `precision=0.95`. Raises ConfigError with the allowed targets."""
        metric, equals, number = (part.strip().casefold() for part in text.partition("="))
        if not equals and metric in METRICS:
            return cls(metric)
        value = _number(number if equals else metric)
        if value is not None and not equals:
            return cls(NUMBER, value)
        if value is not None and metric in RATES and 0 < value <= 1:
            return cls(metric, value)
        suggestion = (
            f"did you mean {metric}={value / 100:g}? " if value and metric in RATES and 1 < value <= 100 else ""
        )
        raise ConfigError(
            f"{shorten(text)} is not a target for a threshold; {suggestion}allowed: {', '.join(METRICS)}, precision=P or "
            "recall=R with a share above 0 and at most 1, or a number (a score, not a probability)"
        )

    def fit(self, scores: ArrayLike, labels: ArrayLike, *, base_rate: float | None = None) -> Threshold:
        """Fit the threshold on these rows; a fixed threshold is returned with its F1. `base_rate`: as in `best_threshold`.

        Raises DataError with fewer than 2 rows of a class or for a precision that no threshold reaches.
        """
        if self.value is None:
            return best_threshold(scores, labels, metric=self.metric, base_rate=base_rate)
        if self.metric == NUMBER:
            score, label = checked_rows(scores, labels, per_class=2)
            reached = measure(score, label, threshold=self.value)["f1"]
            return Threshold(self.value, "f1", len(label), int(label.sum()), reached)
        return threshold_for(scores, labels, **{self.metric: self.value}, base_rate=base_rate)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
