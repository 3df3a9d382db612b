"""choose_score and fit_weights: sums of scores, chosen on validation; the first wins a tie."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from flipkd.errors import ConfigError, DataError, NumbersError
from flipkd.evaluate import choose_score, fit_weights, measure, weighted_sum
from flipkd.evaluate.combine import held_out_sums

RANDOM = np.random.default_rng(0)
LABEL = RANDOM.integers(0, 2, 400)
NOISE = RANDOM.normal(size=(2, 400))
SCORES = {"answer": 3 * (LABEL + NOISE[0]), "cosine": 0.1 * (LABEL + NOISE[1])}


def test_fit_weights_compensates_different_scales():
    weights = fit_weights(SCORES, LABEL)
    assert weights["cosine"] / weights["answer"] == pytest.approx(30, rel=0.25)
    both = weighted_sum(SCORES, weights)
    precision = [measure(values, LABEL)["average_precision"] for values in (both, *SCORES.values())]
    assert precision[0] > max(precision[1:]) + 0.03
    assert both == pytest.approx(sum(weights[name] * SCORES[name] for name in SCORES))


def test_choose_score_chooses_one_score_or_a_sum():
    choice = choose_score(SCORES, LABEL)
    assert choice.parts == tuple(choice.weights) == ("answer", "cosine")
    assert choice.weights == fit_weights(SCORES, LABEL)
    perfect = {"answer": LABEL.astype(float), "cosine": NOISE[0]}
    choice = choose_score(perfect, LABEL)
    assert (choice.parts, choice.weights) == (("answer",), {"answer": 1.0})  # a tie goes to the first
    assert choice.precision["answer",] == choice.precision["answer", "cosine"] == 1
    assert choose_score({"cosine": perfect["answer"], "answer": NOISE[0]}, LABEL).parts == ("cosine",)
    assert choose_score({"answer": NOISE[0]}, LABEL).weights == {"answer": 1.0}


def test_choose_score_uses_an_informative_teacher_only():
    teacher = LABEL + RANDOM.normal(size=400)
    choice = choose_score(SCORES | {"teacher": teacher}, LABEL)
    assert choice.parts == ("answer", "cosine", "teacher")
    assert list(choice.precision) == [
        *(("answer",), ("cosine",), ("answer", "cosine"), ("teacher",)),
        *(("answer", "teacher"), ("answer", "cosine", "teacher")),
    ]
    noise = np.random.default_rng(5).normal(size=400)
    assert "teacher" not in choose_score(SCORES | {"teacher": noise}, LABEL).parts
    kept = choose_score(SCORES | {"teacher": noise}, LABEL, must_have=("teacher",))
    assert kept.parts == ("answer", "cosine", "teacher")


def test_choose_score_ignores_a_gain_by_chance():
    ahead, kept = 0, 0
    for seed in range(12):
        choice = choose_score(SCORES | {"teacher": np.random.default_rng(seed).normal(size=400)}, LABEL)
        sums = {parts: value for parts, value in choice.precision.items() if parts != ("teacher",)}
        best = {side: max(sums[parts] for parts in sums if ("teacher" in parts) is side) for side in (True, False)}
        ahead, kept = ahead + (best[True] > best[False]), kept + ("teacher" in choice.parts)
    assert ahead >= 3, "else this tests nothing"
    assert kept <= 2
    again = choose_score(SCORES | {"teacher": LABEL + NOISE[0]}, LABEL)
    assert again == choose_score(SCORES | {"teacher": LABEL + NOISE[0]}, LABEL), "the same draws each time"


def test_choose_score_uses_the_teacher_unless_it_is_clearly_better_without():
    cosine = LABEL + NOISE[0]
    choice = choose_score({"answer": NOISE[1], "cosine": cosine, "teacher": cosine}, LABEL)
    assert choice.precision["cosine",] > choice.precision[choice.parts], "else this tests nothing"
    assert "teacher" in choice.parts
    noise = np.random.default_rng(1).normal(size=400)
    far = choose_score({"cosine": LABEL + NOISE[0] / 20, "answer": noise, "teacher": LABEL + 9 * NOISE[1]}, LABEL)
    assert far.parts == ("cosine",), "without the teacher every pair is in its place"
    few = np.array([0, 0, 0, 0, 1, 1])  # no sum can be measured
    assert choose_score({"answer": few * 1.0, "teacher": few * 1.0}, few).parts == ("answer",)


def test_choose_score_never_chooses_the_teacher_alone():
    choice = choose_score({"answer": NOISE[0], "teacher": LABEL.astype(float)}, LABEL)
    assert max(choice.precision, key=choice.precision.get) == ("teacher",)
    assert choice.parts == ("answer", "teacher")
    assert choose_score({"cosine": NOISE[0], "teacher": LABEL * 1.0}, LABEL).parts == ("cosine", "teacher")


def test_choose_score_measures_sums_on_held_out_folds():
    held_out = held_out_sums(SCORES, LABEL)
    assert held_out.tolist() == held_out_sums(SCORES, LABEL).tolist()
    columns = np.column_stack(list(SCORES.values()))
    expected = np.empty(len(LABEL))
    for seen, rest in StratifiedKFold(5, shuffle=True, random_state=0).split(columns, LABEL):
        weights = fit_weights({name: column[seen] for name, column in SCORES.items()}, LABEL[seen])
        own = weighted_sum({name: column[rest] for name, column in SCORES.items()}, weights)
        expected[rest] = own
        assert np.diff(held_out[rest]) == pytest.approx(np.diff(own))  # the intercept is all that is left between them
    assert np.corrcoef(held_out, expected)[0, 1] > 0.99


def test_choose_score_does_not_overfit_noise():
    """On the rows of the fit a sum of three is never worse; on held-out rows noise makes it worse."""
    random, ahead = np.random.default_rng(1), []
    label = np.repeat([0, 1], 20)
    for _ in range(10):
        answer, (cosine, teacher) = label + random.normal(size=40), random.normal(size=(2, 40))
        scores = {"answer": answer, "cosine": cosine, "teacher": teacher}
        sums = weighted_sum(scores, fit_weights(scores, label)), held_out_sums(scores, label)
        alone = average_precision_score(label, answer)
        ahead.append([average_precision_score(label, found) - alone for found in sums])
    in_sample, held_out = np.mean(ahead, axis=0)
    assert in_sample > 0.005
    assert held_out < 0


def test_held_out_sums_is_none_with_too_few_rows():
    label = np.array([1, 1, 0, 0, 0, 0])
    scores = {"answer": np.arange(6.0), "cosine": -np.arange(6.0)}
    assert held_out_sums(scores, label) is None
    choice = choose_score(scores, label)
    assert choice.parts == ("cosine",)
    assert choice.precision["answer", "cosine"] == 0
    with pytest.raises(ConfigError, match="no combination contains"):
        choose_score(scores, label, must_have=("teacher",))


def test_fit_weights_and_choose_score_refuse_invalid_inputs():
    with pytest.raises(DataError):
        fit_weights({"answer": [1.0, 2.0]}, [1, 1])
    with pytest.raises(NumbersError):
        fit_weights({"answer": [1.0, float("nan"), 0.0, 0.0]}, [1, 1, 0, 0])
