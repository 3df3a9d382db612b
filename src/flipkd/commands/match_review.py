"""The pairs of flipkd match that people should see, added to a review queue block by block."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from flipkd import progress
from flipkd.command_config import MatchConfig
from flipkd.evaluate.cascade import Cascade
from flipkd.review.queue import ReviewQueue
from flipkd.review.sampling import ScoredPair, chosen

if TYPE_CHECKING:
    from flipkd.matcher import Matcher

logger = logging.getLogger(__name__)
VERSION = 12  # digits of a matcher's fingerprint, as in the responses of the server


class MatchReview:
    """The review queue of one command; without `review_queue` in the settings it does nothing.

    Raises ResourceError and ArtefactError, before a model is loaded, for a file that cannot be opened.
    """

    def __init__(self, config: MatchConfig) -> None:
        self.share, self.identity = config.review_sample, ""
        self.chosen, self.pairs = 0, 0
        self.queue = None if config.review_queue is None else ReviewQueue(config.review_queue, create=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.queue is not None:
            self.queue.close()
            progress.logger.info(
                "%s: %d of %d pairs are for people to label", self.queue.path, self.chosen, self.pairs
            )

    def begin(self, matcher: Matcher, identity: Mapping[str, Any]) -> None:
        """Set what the scores depend on, so that a command that is resumed or repeated counts no pair twice.

        Without an identity each call of `add` counts.
        """
        if self.queue is not None:
            warn_without_band(matcher)
        if not identity:
            return
        text = json.dumps({**identity, "review_sample": self.share}, sort_keys=True)
        self.identity = hashlib.sha256(text.encode()).hexdigest()

    def add(self, matcher: Matcher, rows: list[dict[str, Any]], *, first: int) -> None:
        """Add rows that were scored; `first` is the number of the first one in the file. Returns when they are on the disk."""
        if self.queue is None:
            return
        choices = chosen(_scored(matcher, rows), share=self.share)
        batch = f"{self.identity}:{first}" if self.identity else None
        self.chosen, self.pairs = self.chosen + len(choices), self.pairs + len(rows)
        self.queue.add(choices, matcher=(matcher.fingerprint or "")[:VERSION], batch=batch)


def warn_without_band(matcher: Matcher, name: str = "this matcher") -> None:
    """Log a warning for a matcher that decides no pair as `review`; `name`: for the message."""
    if matcher.review_threshold is None:
        logger.warning(
            "%s has no review band, so the review queue gets sampled pairs only; fit one with flipkd calibrate "
            "--review recall=0.99",
            name,
        )


def _scored(matcher: Matcher, rows: list[dict[str, Any]]) -> list[ScoredPair]:
    """Rows as scored pairs, with the teacher's score where the matcher keeps one."""
    pairs = [(row["text1"], row["text2"]) for row in rows]
    results = [
        (*pair, row["score"], row["probability"], row["decision"]) for pair, row in zip(pairs, rows, strict=True)
    ]
    if matcher.teacher is None:
        return [ScoredPair(*result) for result in results]
    teacher = matcher.teacher_scores(pairs)
    disagrees = _disagreements(matcher, teacher, [row["decision"] for row in rows])
    return [
        ScoredPair(*result, teacher_score=float(score), disagrees=bool(differs))
        for result, score, differs in zip(results, teacher, disagrees, strict=True)
    ]


def _disagreements(matcher: Matcher, teacher: np.ndarray, decisions: list[str]) -> np.ndarray:
    """Mask [N] of the pairs of which the teacher is sure, by the fitted cascade, and decides otherwise."""
    band = matcher.contract.cascade
    if band is None:
        return np.zeros(len(decisions), bool)
    cascade = Cascade(**band.model_dump())
    by_teacher = matcher.decisions(cascade.scores(teacher).astype(np.float32))
    differs = [one != other for one, other in zip(by_teacher, decisions, strict=True)]
    return np.asarray(~cascade.read(teacher) & np.array(differs, bool))
