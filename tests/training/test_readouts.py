"""What decides at the end, and the one line that says so."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.errors import ConfigError
from flipkd.evaluate import choose_score
from flipkd.evaluate.cascade import Cascade, CascadeFit
from flipkd.training.readouts import _milliseconds, choose_readouts, summary

RANDOM = np.random.default_rng(0)
LABEL = np.repeat([0, 1], 60)
ANSWER, COSINE, GOOD = LABEL + RANDOM.normal(size=(3, 120)).astype(np.float32)
FOUND = {"answer": ANSWER, "cosine": COSINE, "teacher": GOOD}


class Small:
    """A teacher of a million parameters that takes two milliseconds."""

    parameters = 1_000_000

    def seconds_per_pair(self, left, right):
        return 0.002


@pytest.mark.parametrize(
    "score, keep, parts",
    [
        ("auto", "auto", ("answer", "cosine", "teacher")),
        ("auto", True, ("answer", "cosine", "teacher")),
        ("auto", False, ("answer", "cosine")),
        ("answer", "auto", ("answer",)),
        ("answer", True, ("answer", "teacher")),
        ("cosine", True, ("cosine", "teacher")),
        ("cosine", False, ("cosine",)),
    ],
)
def test_choose_readouts_follows_score_and_keep_teacher(make_config, score, keep, parts):
    choice = choose_readouts(FOUND, LABEL, make_config(score=score, keep_teacher=keep))
    assert choice.parts == tuple(choice.weights) == parts


def test_choose_readouts_keeps_a_worse_teacher_only_when_forced(make_config):
    found = FOUND | {"teacher": -LABEL + np.random.default_rng(9).normal(size=120) * 9}
    choice = choose_readouts(found, LABEL, make_config())
    assert choice.parts == ("answer", "cosine")
    assert "teacher" in choose_readouts(found, LABEL, make_config(keep_teacher=True)).parts
    with pytest.raises(ConfigError, match="no combination contains"):
        choose_score({"answer": ANSWER}, LABEL, must_have=["teacher"])


def test_summary_has_the_lead_and_the_cost():
    choice = choose_score(FOUND, LABEL)
    line = summary(choice, Small(), seconds=0.0131, texts=(["a"], ["b"]))
    best, without, alone = (choice.precision[parts] for parts in (choice.parts, ("answer", "cosine"), ("teacher",)))
    assert line.splitlines() == [
        f"score: answer + cosine + teacher, average precision {best:.3f} on validation "
        "(average precision of a sum: on held-out folds)",
        f"  best without the teacher: answer + cosine, average precision {without:.3f} "
        f"({100 * (best - without):.1f} points lower)",
        f"  the teacher alone: {alone:.3f}",
        "  cost: 13 ms for a pair; the teacher adds 2 ms and 1.0 million parameters",
    ]


def test_summary_has_the_best_alternative_of_those_that_were_measured():
    noise = np.random.default_rng(4).normal(size=120)
    choice = choose_score({"answer": ANSWER, "teacher": noise}, LABEL)
    assert choice.parts == ("answer",)
    choice.precision["answer", "teacher"] = choice.precision["answer",] + 0.002
    line = summary(choice, None, seconds=1, texts=([], []))
    assert "\n  best with the teacher: answer + teacher, average precision " in line
    assert " (0.2 points higher, perhaps by chance)" in line
    few = np.array([1, 1, *[0] * 30])
    line = summary(choose_score({"answer": few, "teacher": few}, few), None, seconds=1, texts=([], []))
    assert line.splitlines()[0] == "score: answer, average precision 1.000 on validation"
    assert "best with" not in line
    forced = choose_score({"answer": few, "teacher": few}, few, must_have=["teacher"])
    line = summary(forced, None, seconds=1, texts=([], []))
    assert line.startswith("score: answer + teacher, not measured, with fewer than 3 pairs of a class, on validation")


def test_summary_has_the_share_the_loss_and_the_speed_of_a_cascade():
    choice, fit = choose_score(FOUND, LABEL), CascadeFit(Cascade(0.1, 0.9, 1.0, 0.0), 0.625, 0.871, 0.874)
    line = summary(choice, Small(), fit, seconds=0.038, texts=(["a"], ["b"]))
    assert line.endswith(
        "\n  cascade (--cascade): the teacher decides 62% of the pairs alone, F1 0.871 instead of 0.874, "
        "about 2.5 times as fast"
    )
    slow = summary(choice, Small(), fit, seconds=0.0001, texts=(["a"], ["b"]))
    assert slow.endswith("F1 0.871 instead of 0.874, not faster: the teacher takes most of the time")
    none = summary(choice, Small(), CascadeFit(None, 0.0, 0.8, 0.8), seconds=0.038, texts=(["a"], ["b"]))
    assert none.endswith("\n  no cascade: the teacher decides no pair well enough alone")


@pytest.mark.parametrize(
    "seconds, shown", [(0.0042, "4.2 ms"), (0.0999, "100 ms"), (0.0105, "10 ms"), (1.67, "1670 ms")]
)
def test_milliseconds_have_two_digits_or_more(seconds, shown):
    assert _milliseconds(seconds) == shown


def test_summary_mentions_a_teacher_that_is_as_good_alone():
    choice = choose_score({"answer": RANDOM.normal(size=120), "teacher": LABEL * 1.0}, LABEL)
    assert choice.parts == ("answer", "teacher")
    assert "the teacher alone: 1.000 (as good without the language model, and much cheaper)" in summary(
        choice, Small(), seconds=1, texts=([], [])
    )


def test_summary_without_a_teacher_and_with_one_score():
    line = summary(choose_score({"answer": ANSWER, "cosine": COSINE}, LABEL), None, seconds=1, texts=([], []))
    assert line.startswith("score: answer + cosine, average precision ")
    assert "\n  next best: " in line
    assert "teacher" not in line
    alone = summary(choose_score({"answer": ANSWER}, LABEL), None, seconds=1, texts=([], []))
    assert alone.endswith(" on validation\n  cost: 1000 ms for a pair")
