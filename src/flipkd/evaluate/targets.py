"""What a threshold is to reach, in a user's words: `f1`, `accuracy`, `precision=0.95`, `recall=0.99`, or a score."""

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
    """The best `metric` (f1, accuracy), a `value` of precision or recall, or the threshold `value` itself."""

    metric: str
    value: float | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """A target from words as `precision=0.95`. Raises ConfigError saying which words there are."""
        metric, equals, number = (part.strip().casefold() for part in text.partition("="))
        if not equals and metric in METRICS:
            return cls(metric)
        value = _number(number if equals else metric)
        if value is not None and not equals:
            return cls(NUMBER, value)
        if value is not None and metric in RATES and 0 < value <= 1:
            return cls(metric, value)
        meant = f"did you mean {metric}={value / 100:g}? " if value and metric in RATES and 1 < value <= 100 else ""
        raise ConfigError(
            f"{shorten(text)} is no target for a threshold; {meant}allowed: {', '.join(METRICS)}, precision=P or "
            "recall=R with a share above 0 and at most 1, or a number: the score itself, which is no probability"
        )

    def fit(self, scores: ArrayLike, labels: ArrayLike) -> Threshold:
        """The threshold on these rows; a number is taken as it is, with the F1 that it reaches.

        Raises DataError with fewer than 2 rows of a class or for a precision that no threshold reaches.
        """
        if self.value is None:
            return best_threshold(scores, labels, metric=self.metric)
        if self.metric == NUMBER:
            score, label = checked_rows(scores, labels, per_class=2)
            reached = measure(score, label, threshold=self.value)["f1"]
            return Threshold(self.value, "f1", len(label), int(label.sum()), reached)
        return threshold_for(scores, labels, **{self.metric: self.value})


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
