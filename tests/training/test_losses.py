"""From names and weights to the terms of a loss."""

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.answer import answer_cross_entropy
from flipkd.objectives.in_batch import in_batch_kl
from flipkd.objectives.margin import margin_hinge
from flipkd.training.losses import compares_pairs, needs_of, resolve_objectives


def test_resolve_objectives_binds_weights_settings_and_thresholds():
    objectives = {"answer_cross_entropy": 1, "margin_hinge": {"weight": 0.5, "margin": 0.3}, "in_batch_kl": 0}
    terms = resolve_objectives(objectives, teacher_facts={"theta_pos": 0.7, "theta_neg": 0.2})
    assert [(t.name, t.weight) for t in terms] == [("answer_cross_entropy", 1.0), ("margin_hinge", 0.5)]
    assert terms[1].function.keywords == {"theta_pos": 0.7, "theta_neg": 0.2, "margin": 0.3}


def test_resolve_objectives_prefers_given_thresholds_and_defaults_to_none():
    own = resolve_objectives(
        {"margin_hinge": {"theta_pos": 0.9, "theta_neg": 0.1}}, teacher_facts={"theta_pos": 0.7, "theta_neg": 0.2}
    )
    assert own[0].function.keywords == {"theta_pos": 0.9, "theta_neg": 0.1}
    none = resolve_objectives({"margin_hinge": 1.0}, teacher_facts={})
    assert none[0].function.keywords == {"theta_pos": None, "theta_neg": None}


def test_resolve_objectives_accepts_an_import_path():
    term = resolve_objectives({"flipkd.objectives.answer:answer_cross_entropy": 2.0}, teacher_facts={})[0]
    assert term.weight == 2.0
    assert term.needs == {"answers"}


@pytest.mark.parametrize(
    "objectives, message",
    [
        ({"margin_hing": 1.0}, "did you mean 'margin_hinge'"),
        ({"margin_hinge": {"margn": 1.0}}, "did you mean 'margin'"),
        ({"margin_hinge": {"weight": -1.0}}, "allowed is a number from 0"),
        ({"margin_hinge": {"weight": "much"}}, "allowed is a number from 0"),
        ({"margin_hinge": {"weight": float("nan")}}, "the weight is nan; allowed is a number from 0"),
        ({"margin_hinge": {"weight": float("inf")}}, "the weight is inf; allowed is a number from 0"),
        ({"answer_cross_entropy": 0}, "nothing would be trained"),
        ({"list_kl": {"temperature_student": 0}}, "objectives.list_kl: temperature_student=0"),
        ({}, "nothing would be trained"),
        ({"flipkd.objectives.answer:nothing": 1.0}, "cannot be imported"),
    ],
)
def test_resolve_objectives_refuses_invalid_objectives(objectives, message):
    with pytest.raises(ConfigError, match=message):
        resolve_objectives(objectives, teacher_facts={"theta_pos": 0.7, "theta_neg": 0.2})


def test_needs_of_the_objectives():
    from functools import partial

    assert needs_of(answer_cross_entropy) == {"answers"}
    assert needs_of(in_batch_kl) == {"vectors", "teacher", "grid"}
    assert needs_of(partial(margin_hinge, theta_pos=0.7, theta_neg=0.2)) == {"vectors", "teacher"}


def test_needs_of_an_objective_that_requires_ids():
    assert needs_of(lambda batch: batch.require("left_id").float().sum()) == {"vectors"}


@pytest.mark.parametrize(
    "name, expected",
    [
        *((name, True) for name in ("pairwise_pref_kl", "margin_hinge", "in_batch_kl", "info_nce", "list_kl")),
        *((name, True) for name in ("pair_relation", "rkd_distance", "standardised_kd", "list_mle")),
        *((name, False) for name in ("answer_cross_entropy", "bernoulli_kd", "score_mse", "simcse", "hard_kd")),
        *((name, False) for name in ("similarity_preserving", "mixed_gram", "embed_align", "layer_score_kd")),
    ],
)
def test_compares_pairs_is_true_for_a_loss_that_is_0_for_one_pair(name, expected):
    [term] = resolve_objectives({name: 1.0}, teacher_facts={})
    assert compares_pairs(term.function) is expected


def test_needs_of_passes_on_every_other_error():
    def own(batch):
        raise ConfigError("this objective needs label, which the batch lacks")

    with pytest.raises(ConfigError, match="this objective needs label"):
        needs_of(own)


def test_needs_of_keeps_the_random_state():
    before = torch.get_rng_state()
    needs_of(lambda batch: torch.rand(3).sum() + batch.score.sum())
    assert torch.equal(before, torch.get_rng_state())
