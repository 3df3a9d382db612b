"""Review queues of a few pairs with known results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flipkd.review.queue import ReviewQueue, Vote
from flipkd.review.sampling import ScoredPair, chosen, pair_key


def scored(number: int, decision: str = "review", probability: float = 0.5, **more: Any) -> ScoredPair:
    """A pair whose texts are `left N` and `right N`."""
    return ScoredPair(f"left {number}", f"right {number}", probability - 0.5, probability, decision, **more)


def key_of(number: int) -> str:
    return pair_key(f"left {number}", f"right {number}")


def filled_queue(path: Path, count: int = 10) -> ReviewQueue:
    """A queue of pairs to review, with probabilities from 0.3 up and teacher scores that fall."""
    queue = ReviewQueue(path, create=True)
    pairs = [scored(n, probability=round(0.3 + n / 20, 2), teacher_score=float(-n)) for n in range(count)]
    queue.add(chosen(pairs, share=0), matcher="m1")
    return queue


def vote(queue: ReviewQueue, annotator: str, labels: dict[int, int | None]) -> dict[str, int]:
    """Give the pairs of these numbers their labels."""
    return queue.add_votes([Vote(key_of(n), annotator, label) for n, label in labels.items()], source="test")
