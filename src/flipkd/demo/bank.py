"""Demo data: questions of customers of a retail bank, and labelled pairs of them.

`bank.csv` was written for this project. An intent is the customer's goal; a topic is a group of intents with similar
words (card lost, card stolen, card swallowed), which give the hard negatives.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from importlib.resources import files
from itertools import combinations
from random import Random
from typing import NamedTuple

from flipkd.errors import UsageError

# Shares of the questions of an intent. With 60/15/25, validation would have 2 of 14, so one positive pair per intent.
VALIDATION_SHARE = 0.2
TEST_SHARE = 0.3


class _Question(NamedTuple):
    topic: str
    intent: str
    text: str


_Pair = tuple[_Question, _Question]


def bank_questions() -> list[tuple[str, str]]:
    """Return all questions as (intent, question), in the order of the file."""
    return [(question.intent, question.text) for question in _read()]


def bank_pairs(
    *, train: int = 800, validation: int = 300, test: int = 500, seed: int = 0
) -> dict[str, list[dict[str, object]]]:
    """Draw pairs for "train", "validation" and "test": rows of text1, text2, label (1 for the same intent, else 0).

    No text is in two splits; every intent has questions in each split. Half of the pairs are positives; two thirds of the
    negatives share their topic. There are no duplicate pairs, in either order. The same seed gives the same pairs. Raises
    UsageError if a split has fewer pairs than requested.
    """
    splits = _split(_read(), Random(seed))
    sizes = {"train": train, "validation": validation, "test": test}
    # Each split has its own generator, so that its size does not change the other splits.
    return {name: _draw(splits[name], sizes[name], name, Random(f"{seed} {name}")) for name in sizes}


def _read() -> list[_Question]:
    lines = files("flipkd.demo").joinpath("bank.csv").read_text(encoding="utf-8").splitlines()
    return [_Question(row["topic"], row["intent"], row["question"]) for row in csv.DictReader(lines)]


def _split(questions: list[_Question], random: Random) -> dict[str, list[_Question]]:
    by_intent: dict[str, list[_Question]] = defaultdict(list)
    for question in questions:
        by_intent[question.intent].append(question)
    splits: dict[str, list[_Question]] = {"train": [], "validation": [], "test": []}
    for group in by_intent.values():
        shuffled = random.sample(group, len(group))
        first = round(VALIDATION_SHARE * len(group))
        second = first + round(TEST_SHARE * len(group))
        splits["validation"] += shuffled[:first]
        splits["test"] += shuffled[first:second]
        splits["train"] += shuffled[second:]
    return splits


def _draw(questions: list[_Question], count: int, name: str, random: Random) -> list[dict[str, object]]:
    positives: list[_Pair] = []
    hard: list[_Pair] = []
    easy: list[_Pair] = []
    for left, right in combinations(questions, 2):
        kind = positives if left.intent == right.intent else hard if left.topic == right.topic else easy
        kind.append((left, right))
    kinds = (positives, hard, easy)
    largest = _largest(len(positives), len(hard), len(easy))
    if not 0 <= count <= largest:
        raise UsageError(f"{name}={count}: the number of pairs must be between 0 and {largest}")
    drawn = [pair for kind, size in zip(kinds, _counts(count), strict=True) for pair in random.sample(kind, size)]
    random.shuffle(drawn)
    return [_row(*random.sample(pair, 2)) for pair in drawn]


def _counts(pairs: int) -> tuple[int, int, int]:
    """Numbers of positives, hard negatives and easy negatives among `pairs` pairs."""
    negatives = pairs - pairs // 2
    hard = round(2 * negatives / 3)
    return pairs // 2, hard, negatives - hard


def _largest(positives: int, hard: int, easy: int) -> int:
    pairs = 2 * positives + 1
    while any(count > most for count, most in zip(_counts(pairs), (positives, hard, easy), strict=True)):
        pairs -= 1
    return pairs


def _row(left: _Question, right: _Question) -> dict[str, object]:
    return {"text1": left.text, "text2": right.text, "label": int(left.intent == right.intent)}
