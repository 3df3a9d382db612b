"""Results of a comparison that are found again."""

from __future__ import annotations

from flipkd.comparison.results import scoring_settings

CHOSEN = {"answer_cross_entropy": 1.0, "pairwise_pref_kl": 1.0}


def identity(objectives, **others):
    return {"system": "flipped", "train": {"seed": 0, "objectives": objectives}} | others


def test_an_objective_of_weight_0_is_as_one_that_is_not_there():
    given = identity(CHOSEN | {"bernoulli_kd": 0.0, "margin_mse": {"weight": 0}}, overrides={"objectives": {}})
    assert scoring_settings(given) == scoring_settings(identity(CHOSEN))
    assert scoring_settings(given) != scoring_settings(identity(CHOSEN | {"bernoulli_kd": 0.1}))
    assert given["train"]["objectives"]["bernoulli_kd"] == 0.0, "what is stored stays as it was given"


def test_the_parts_of_a_blend_are_compared_likewise():
    blends = [
        {"system": "blend", "overrides": {}, "parts": [identity(CHOSEN | zero, overrides=zero)]}
        for zero in ({}, {"margin_mse": 0})
    ]
    assert scoring_settings(blends[0]) == scoring_settings(blends[1])


def test_an_encoder_has_no_objectives():
    teacher = {"system": "teacher", "teach": {"seed": 0}}
    assert scoring_settings(teacher | {"overrides": {}}) == teacher
