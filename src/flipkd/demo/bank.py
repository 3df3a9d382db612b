"""The demo's data: questions that a retail bank's customers ask, and labelled pairs drawn from them.

`bank.csv` was written for this project: an intent is what the customer wants, a topic a group of intents that share
their words (card lost, card stolen, card swallowed), which is what makes its hard negatives hard.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from importlib.resources import files
from itertools import combinations
from random import Random
from typing import NamedTuple

from flipkd.errors import UsageError

# Shares of an intent's questions. Not 60/15/25: of 14 that leaves validation two, so one positive per intent.
VALIDATION_SHARE = 0.2
TEST_SHARE = 0.3


class _Question(NamedTuple):
    topic: str
    intent: str
    text: str


_Pair = tuple[_Question, _Question]


def bank_questions() -> list[tuple[str, str]]:
    """All questions as (intent, question), in the order of the file."""
    return [(question.intent, question.text) for question in _read()]


def bank_pairs(
    *, train: int = 800, validation: int = 300, test: int = 500, seed: int = 0
) -> dict[str, list[dict[str, object]]]:
    """Pairs for "train", "validation" and "test": rows of text1, text2, label (1 when the intent is the same, else 0).

    No text stands on two sides; every intent has questions on all sides. Half the pairs are positives; of the
    negatives two thirds share their topic, the others do not. No pair comes twice, mirrored or not. The same seed
    gives the same pairs. Raises UsageError when a side cannot give as many pairs as asked for.
    """
    sides = _split(_read(), Random(seed))
    wanted = {"train": train, "validation": validation, "test": test}
    # A generator per side, so that asking one side for more leaves the others as they were.
    return {side: _draw(sides[side], wanted[side], side, Random(f"{seed} {side}")) for side in wanted}


def _read() -> list[_Question]:
    lines = files("flipkd.demo").joinpath("bank.csv").read_text(encoding="utf-8").splitlines()
    return [_Question(row["topic"], row["intent"], row["question"]) for row in csv.DictReader(lines)]


def _split(questions: list[_Question], random: Random) -> dict[str, list[_Question]]:
    by_intent: dict[str, list[_Question]] = defaultdict(list)
    for question in questions:
        by_intent[question.intent].append(question)
    sides: dict[str, list[_Question]] = {"train": [], "validation": [], "test": []}
    for own in by_intent.values():
        shuffled = random.sample(own, len(own))
        first = round(VALIDATION_SHARE * len(own))
        second = first + round(TEST_SHARE * len(own))
        sides["validation"] += shuffled[:first]
        sides["test"] += shuffled[first:second]
        sides["train"] += shuffled[second:]
    return sides


def _draw(questions: list[_Question], wanted: int, side: str, random: Random) -> list[dict[str, object]]:
    positives: list[_Pair] = []
    hard: list[_Pair] = []
    easy: list[_Pair] = []
    for left, right in combinations(questions, 2):
        kind = positives if left.intent == right.intent else hard if left.topic == right.topic else easy
        kind.append((left, right))
    kinds = (positives, hard, easy)
    largest = _largest(len(positives), len(hard), len(easy))
    if not 0 <= wanted <= largest:
        raise UsageError(f"{side}={wanted}: the bank gives between 0 and {largest} pairs for {side}; ask for fewer")
    drawn = [pair for kind, count in zip(kinds, _counts(wanted), strict=True) for pair in random.sample(kind, count)]
    random.shuffle(drawn)
    return [_row(*random.sample(pair, 2)) for pair in drawn]


def _counts(pairs: int) -> tuple[int, int, int]:
    """How many of `pairs` are positives, hard negatives and easy negatives."""
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
