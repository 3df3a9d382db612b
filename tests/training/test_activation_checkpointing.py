"""Layers that are computed again on the way back: the same loss and gradients in every reading and family, less memory."""

from __future__ import annotations

import pytest
import torch
from allocations import Allocations
from tiny import FAMILY_AND_READING, randomise

from flipkd.errors import ConfigError
from flipkd.training.arguments import training_arguments
from flipkd.training.batches import Collator
from flipkd.training.losses import resolve_objectives
from flipkd.training.module import DistillationModule
from flipkd.training.run import trainer_arguments

OBJECTIVES = {"answer_cross_entropy": 1.0, "pairwise_pref_kl": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0}
FACTS = {"theta_pos": 0.5, "theta_neg": 0.0, "teacher_slope": 1.0, "teacher_intercept": 0.0}


def step(make_student, table, *, again, **settings):
    """Loss, gradients and bytes kept between forward and backward pass of one step."""
    student = randomise(make_student(**settings)[0])
    module = DistillationModule(student, resolve_objectives(OBJECTIVES, teacher_facts=FACTS)).train()
    if again:
        module.activation_checkpointing_enable()
    batch = Collator(student, table, return_embeddings=True)(list(range(12)))
    with Allocations([*module.parameters(), *module.buffers(), *batch.values()]) as made:
        loss = module(**batch)["loss"]
        kept = made.now
        loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in module.named_parameters() if p.requires_grad}, kept


@pytest.mark.parametrize(
    "family, reading, places",
    [
        *((*both, {}) for both in FAMILY_AND_READING),
        ("llama", "joint", {"readout_layers": (0, 1), "readout_modules": ("q_proj", "down_proj")}),
        ("gemma3", "separate", {"readout_layers": (0, 1), "readout_modules": ("q_proj", "down_proj")}),
    ],
)
def test_activation_checkpointing_keeps_loss_and_gradients_and_saves_memory(
    make_student, table, family, reading, places
):
    whole, again = (
        step(make_student, table, again=on, family=family, reading=reading, **places) for on in (False, True)
    )
    assert again[0] == pytest.approx(whole[0], rel=1e-5)
    assert again[1].keys() == whole[1].keys()
    for name, gradient in whole[1].items():
        assert gradient.any(), name
        torch.testing.assert_close(again[1][name], gradient, atol=1e-5 * float(gradient.abs().max()), rtol=1e-5)
    assert again[2] < 0.3 * whole[2]


def test_activation_checkpointing_is_a_setting_that_reaches_the_trainer(make_config, tmp_path):
    for given, expected in (
        ({}, False),
        ({"activation_checkpointing": True}, True),
    ):
        arguments = training_arguments(tmp_path, trainer_arguments(make_config(**given)))
        assert arguments.activation_checkpointing is expected


def test_activation_checkpointing_refuses_use_reentrant(tmp_path):
    with pytest.raises(ConfigError, match="use_reentrant"):
        training_arguments(
            tmp_path,
            {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": True}},
        )
