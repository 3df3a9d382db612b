"""From names and weights to the terms of a loss."""

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.answer import answer_cross_entropy
from flipkd.objectives.in_batch import in_batch_kl
from flipkd.objectives.margin import margin_hinge
from flipkd.training.losses import needs_of, resolve_objectives


def test_weights_knobs_and_thresholds_are_bound():
    objectives = {"answer_cross_entropy": 1, "margin_hinge": {"weight": 0.5, "margin": 0.3}, "in_batch_kl": 0}
    terms = resolve_objectives(objectives, teacher_facts={"theta_pos": 0.7, "theta_neg": 0.2})
    assert [(t.name, t.weight) for t in terms] == [("answer_cross_entropy", 1.0), ("margin_hinge", 0.5)]
    assert terms[1].function.keywords == {"theta_pos": 0.7, "theta_neg": 0.2, "margin": 0.3}


def test_given_thresholds_win_and_no_filter_is_none():
    own = resolve_objectives(
        {"margin_hinge": {"theta_pos": 0.9, "theta_neg": 0.1}}, teacher_facts={"theta_pos": 0.7, "theta_neg": 0.2}
    )
    assert own[0].function.keywords == {"theta_pos": 0.9, "theta_neg": 0.1}
    none = resolve_objectives({"margin_hinge": 1.0}, teacher_facts={})
    assert none[0].function.keywords == {"theta_pos": None, "theta_neg": None}


def test_an_objective_of_ones_own_by_import_path():
    term = resolve_objectives({"flipkd.objectives.answer:answer_cross_entropy": 2.0}, teacher_facts={})[0]
    assert term.weight == 2.0
    assert term.needs == {"answers"}


@pytest.mark.parametrize(
    "objectives, message",
    [
        ({"margin_hing": 1.0}, "did you mean 'margin_hinge'"),
        ({"margin_hinge": {"margn": 1.0}}, "did you mean 'margin'"),
        ({"margin_hinge": {"weight": -1.0}}, "at least 0"),
        ({"margin_hinge": {"weight": "much"}}, "must be a number"),
        ({"answer_cross_entropy": 0}, "nothing would be learnt"),
        ({}, "nothing would be learnt"),
        ({"flipkd.objectives.answer:nothing": 1.0}, "cannot be imported"),
    ],
)
def test_what_cannot_be_meant_is_refused(objectives, message):
    with pytest.raises(ConfigError, match=message):
        resolve_objectives(objectives, teacher_facts={"theta_pos": 0.7, "theta_neg": 0.2})


def test_needs_are_found_by_asking():
    from functools import partial

    assert needs_of(answer_cross_entropy) == {"answers"}
    assert needs_of(in_batch_kl) == {"vectors", "teacher", "grid"}
    assert needs_of(partial(margin_hinge, theta_pos=0.7, theta_neg=0.2)) == {"vectors", "teacher"}


def test_an_objective_of_ones_own_may_ask_for_ids_of_texts():
    assert needs_of(lambda batch: batch.require("left_id").float().sum()) == {"vectors"}


def test_needs_of_passes_on_every_other_error():
    def own(batch):
        raise ConfigError("this objective needs label, which the batch lacks")

    with pytest.raises(ConfigError, match="this objective needs label"):
        needs_of(own)


def test_asking_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    needs_of(lambda batch: torch.rand(3).sum() + batch.score.sum())
    assert torch.equal(before, torch.get_rng_state())
