"""The pairs that everything is measured on: those of a file, or made up of common English words."""

from __future__ import annotations

from itertools import islice

import numpy as np
from workload import SEED, Task, read_task

WORDS = [
    "the", "of", "and", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are", "as", "with", "his", "they",
    "at", "be", "this", "have", "from", "or", "one", "had", "by", "word", "but", "not", "what", "all", "were", "we", "when",
    "your", "can", "said", "there", "use", "an", "each", "which", "she", "do", "how", "their", "if", "will", "up", "other",
    "about", "out", "many", "then", "them", "these", "so", "some", "her", "would", "make", "like", "him", "into", "time",
    "has", "look", "two", "more", "write", "go", "see", "number", "no", "way", "could", "people", "my", "than", "first",
    "water", "been", "call", "who", "now", "find", "long", "down", "day", "did", "get", "come", "made", "may", "part",
    "card", "bank", "account", "money", "transfer", "payment", "charge", "fee", "limit", "order", "refund", "cash",
    "machine", "code", "change", "close", "open", "lost", "stolen", "help", "please", "why",
]  # fmt: skip


def pairs_for(file: str | None, *, count: int, words: tuple[int, int]) -> Task:
    """The pairs of `file`, or `count` made-up ones whose texts have from `words[0]` to `words[1]` words; of no model yet."""
    return read_task(file, "") if file else made_up(count, words=words)


def made_up(count: int, *, words: tuple[int, int]) -> Task:
    """Pairs that differ from each other, in a seeded order; half of them are called matches."""
    random = np.random.default_rng(SEED)
    lengths = random.integers(words[0], words[1] + 1, size=2 * count)
    drawn = iter(random.choice(WORDS, size=lengths.sum()).tolist())
    texts = [" ".join(islice(drawn, length)) for length in lengths.tolist()]
    return Task("", texts[:count], texts[count:], [row % 2 for row in range(count)])
