"""Demo data: varied questions without duplicates, and correct pairs."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from importlib.resources import files

import pytest

import flipkd
from flipkd.demo.bank import bank_pairs, bank_questions
from flipkd.errors import UsageError

SIDES = {"train": 800, "validation": 300, "test": 500}


@pytest.fixture(scope="module")
def pairs():
    return bank_pairs()


@pytest.fixture(scope="module")
def rows():
    return list(csv.DictReader(files("flipkd.demo").joinpath("bank.csv").read_text(encoding="utf-8").splitlines()))


def _digest(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def test_at_least_sixty_four_intents_with_thirteen_questions_each():
    counts = Counter(intent for intent, _ in bank_questions())
    assert len(counts) >= 64
    assert min(counts.values()) >= 13


def test_bank_questions_are_unique():
    words = [re.findall(r"\w+", text.casefold()) for _, text in bank_questions()]
    plain = [" ".join(own) for own in words]
    assert [text for text, count in Counter(plain).items() if count > 1] == []


def test_bank_has_every_cell_filled_and_trimmed(rows):
    assert all(list(row) == ["topic", "intent", "question"] for row in rows)
    assert all(value and value == value.strip() for row in rows for value in row.values())


def test_an_intent_belongs_to_one_topic_and_a_topic_has_several_intents(rows):
    topics = defaultdict(set)
    for row in rows:
        topics[row["topic"]].add(row["intent"])
    assert min(len(intents) for intents in topics.values()) >= 2
    assert sum(len(intents) for intents in topics.values()) == len({row["intent"] for row in rows})


def test_every_intent_has_short_and_long_wordings(rows):
    lengths = defaultdict(list)
    for row in rows:
        lengths[row["intent"]].append(len(row["question"].split()))
    assert all(min(own) <= 4 and max(own) >= 20 for own in lengths.values())


def test_bank_pairs_have_the_default_sizes_and_plain_rows(pairs):
    assert {side: len(own) for side, own in pairs.items()} == SIDES
    assert all(list(row) == ["text1", "text2", "label"] for own in pairs.values() for row in own)


def test_label_is_1_for_the_same_intent(pairs):
    intent_of = {text: intent for intent, text in bank_questions()}
    for row in (row for own in pairs.values() for row in own):
        assert row["text1"] != row["text2"]
        assert row["label"] == int(intent_of[row["text1"]] == intent_of[row["text2"]])


def test_bank_pairs_share_no_text_between_splits(pairs):
    texts = [{row[name] for row in own for name in ("text1", "text2")} for own in pairs.values()]
    assert all(not texts[i] & texts[j] for i, j in ((0, 1), (0, 2), (1, 2)))


def test_every_intent_is_in_each_split(pairs):
    intent_of = {text: intent for intent, text in bank_questions()}
    for own in pairs.values():
        assert {intent_of[row[name]] for row in own for name in ("text1", "text2")} == set(intent_of.values())


def test_bank_pairs_are_half_positives_in_random_order(pairs):
    for own in pairs.values():
        labels = [row["label"] for row in own]
        assert sum(labels) * 2 == len(labels)
        assert 0.3 < sum(labels[: len(labels) // 2]) / (len(labels) // 2) < 0.7


def test_two_thirds_of_the_negatives_share_the_topic(pairs, rows):
    topic_of = {row["question"]: row["topic"] for row in rows}
    for own in pairs.values():
        hard = [topic_of[row["text1"]] == topic_of[row["text2"]] for row in own if row["label"] == 0]
        assert abs(sum(hard) - 2 * len(hard) / 3) < 1


def test_bank_pairs_have_no_duplicates(pairs):
    for own in pairs.values():
        assert len({frozenset((row["text1"], row["text2"])) for row in own}) == len(own)


def test_bank_pairs_depend_on_the_seed(pairs):
    assert bank_pairs() == pairs
    assert bank_pairs(seed=1)["test"] != pairs["test"]


def test_size_of_one_split_does_not_change_the_others(pairs):
    other = bank_pairs(train=1000)
    assert len(other["train"]) == 1000
    assert (other["validation"], other["test"]) == (pairs["validation"], pairs["test"])


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_pairs_do_not_depend_on_the_hash_seed(pairs, hash_seed):
    code = "import json, sys; from flipkd.demo.bank import bank_pairs; sys.stdout.write(json.dumps(bank_pairs()))"
    path = os.path.dirname(os.path.dirname(flipkd.__file__))
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=60)
    assert _digest(json.loads(done.stdout)) == _digest(pairs)


@pytest.mark.parametrize("side", list(SIDES))
def test_too_many_pairs_are_refused_with_the_largest_number_that_works(side):
    with pytest.raises(UsageError, match=side) as caught:
        bank_pairs(**{side: 10**6})
    largest = int(str(caught.value).split("between 0 and ")[1].split()[0])
    assert largest >= SIDES[side]
    assert len(bank_pairs(**{side: largest})[side]) == largest
    with pytest.raises(UsageError):
        bank_pairs(**{side: largest + 1})


def test_bank_pairs_refuses_a_negative_number_and_is_empty_for_zero():
    with pytest.raises(UsageError, match="train=-1"):
        bank_pairs(train=-1)
    assert bank_pairs(train=0)["train"] == []
