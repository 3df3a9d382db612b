"""Critic: the calibrated teacher with its precision in the log, or the mean of the generator's answers to its questions."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest

from flipkd.command_config import GenerateConfig
from flipkd.commands import critic as module
from flipkd.commands.critic import judge
from flipkd.evaluate.calibration import Calibration
from flipkd.generate.prompts import JUDGEMENTS

ROWS = [
    {"text1": "a", "text2": "b", "label": 1},
    {"text1": "a", "text2": "c", "label": 0},
    {"text1": "a", "text2": "d", "label": 1},
]


def config(**changes):
    return GenerateConfig.check({"seeds": "s.csv", "critic": "endpoint"} | changes)


def endpoint(replies):
    """Stand-in whose replies about a pair are those under its second text, in the order of the questions."""

    def reply(messages):
        prompt = messages[0]["content"]
        question = next(n for n, judgement in enumerate(JUDGEMENTS) if judgement in prompt)
        return replies[json.loads(re.search(r"Text 2: (\".*\")", prompt)[1])][question]

    return SimpleNamespace(replies=lambda asked, *, label: [reply(messages) for messages in asked])


def test_judge_asks_the_endpoint_all_questions_and_keeps_labels_that_the_mean_supports():
    replies = {"b": ["yes", "Yes.", "no"], "c": ["no", "no", "yes"], "d": ["no", "no", "yes"]}
    kept, probability = judge(ROWS, config(), endpoint(replies))
    assert probability.tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert kept.tolist() == [True, True, False]


@pytest.mark.parametrize("reply", ["perhaps", "", None])
def test_judge_counts_an_unreadable_or_missing_answer_as_half_a_yes(reply):
    replies = {"b": [reply] * 3, "c": [reply, "no", "no"], "d": [reply, "yes", "yes"]}
    kept, probability = judge(ROWS, config(), endpoint(replies))
    assert probability.tolist() == pytest.approx([1 / 2, 1 / 6, 5 / 6])
    assert kept.tolist() == [False, True, True]


def test_judge_applies_the_bounds_of_the_settings():
    replies = {"b": ["yes", "yes", "no"], "c": ["no", "no", "yes"], "d": ["yes", "yes", "yes"]}
    strict = config(match_from=0.9, mismatch_up_to=0.1)
    assert judge(ROWS, strict, endpoint(replies))[0].tolist() == [False, False, True]


@pytest.fixture
def teacher(monkeypatch):
    """A teacher whose score of a pair is its place; on validation the scores 2 and 3 are matches, 0 and 1 are not."""
    fit = Calibration(method="sigmoid", slope=4.0, intercept=-6.0)

    def pair_signal(left, right):
        return SimpleNamespace(pair_scores=lambda: np.arange(len(left), dtype=np.float32))

    def calibrated(folder, validation_file, *, columns):
        assert (folder, validation_file) == ("t", "v.csv")
        return SimpleNamespace(pair_signal=pair_signal), fit, np.arange(4.0), np.array([0, 0, 1, 1])

    monkeypatch.setattr(module, "calibrated_teacher", calibrated)
    return {"critic": "teacher", "teacher": "t", "validation_file": "v.csv"}


def test_judge_uses_the_calibrated_teacher_and_logs_its_precision(teacher, caplog):
    caplog.set_level(logging.WARNING)
    kept, probability = judge(ROWS, config(**teacher), endpoint({}))
    assert probability.tolist() == pytest.approx([1 / (1 + np.exp(6)), 1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))])
    assert kept.tolist() == [False, True, True]
    assert "it is right on 100.0% of the pairs kept as match, 100.0% of the pairs kept as no_match" in caplog.text


def test_judge_logs_that_its_bounds_keep_no_pair_of_validation(teacher, caplog):
    caplog.set_level(logging.WARNING)
    kept, _ = judge(ROWS, config(**teacher, match_from=1.0, mismatch_up_to=0.0), endpoint({}))
    assert not kept.any()
    assert "it is right on no pair: its bounds keep none" in caplog.text
