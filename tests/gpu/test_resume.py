"""A resumed run ends with the weights of an uninterrupted one: bit-identical, with graphs equal up to rounding."""

from __future__ import annotations

import shutil

import pytest
import torch
from device_runs import module_of
from devices import apart, each_device, packed_on
from tiny import make_table

from flipkd.training.averaging import WeightAverage
from flipkd.training.checkpoints import last_valid_checkpoint

STEPS, BROKEN = 6, 3
WITH_GRAPHS = 16, 8  # shapes return in both parts of the run


def start_and_runs(student_on, train, device, *, graphs, **settings):
    """(weights at the start, uninterrupted run, run that was resumed from a checkpoint in the middle)."""
    steps, broken = WITH_GRAPHS if graphs else (STEPS, BROKEN)
    saved = {"save_strategy": "steps", "save_steps": broken, "steps": steps, "graphs": graphs}

    def averaging_module():
        made = module_of(student_on(device, **settings))
        made.average = WeightAverage(0.8)  # from the second step, so that the checkpoint has a part of the mean
        return made

    start = averaging_module().state_dict()
    unbroken = train(averaging_module(), make_table(), "unbroken", **saved)
    killed = unbroken.folder.with_name("killed")
    shutil.copytree(unbroken.folder, killed)
    for checkpoint in killed.glob("checkpoint-*"):
        if checkpoint.name != f"checkpoint-{broken}":
            shutil.rmtree(checkpoint)
    assert last_valid_checkpoint(killed).name == f"checkpoint-{broken}"
    resumed = train(averaging_module(), make_table(), "killed", **saved)
    assert len(resumed.gradients) == steps - broken, "the run was resumed, not started again"
    assert len(resumed.losses) == steps
    assert resumed.weights.keys() == unbroken.weights.keys() == start.keys()
    return {name: tensor.cpu() for name, tensor in start.items()}, unbroken, resumed


@pytest.mark.slow
@each_device
@pytest.mark.parametrize("reading,attention", [("joint", "packed"), ("blocked", "packed"), ("separate", "sdpa")])
def test_train_resumed_without_graphs_is_bit_identical(student_on, train, device, reading, attention):
    """Uses dropout, so that the state of the GPU's random generator matters; padded rows never run as graphs."""
    settings = {"reading": reading, "dtype": "bfloat16", "dropout": 0.1}
    settings["attn_implementation"] = packed_on(device) if attention == "packed" else attention
    _, unbroken, resumed = start_and_runs(student_on, train, device, graphs=False, **settings)
    assert resumed.losses == unbroken.losses
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in unbroken.weights.items())


@pytest.mark.slow
@each_device
def test_train_resumed_with_graphs_is_equal_up_to_rounding(student_on, train, device):
    """A resumed run captures each shape again, so the steps that are replayed are not the same in both runs."""
    start, unbroken, resumed = start_and_runs(student_on, train, device, graphs=True)
    assert unbroken.graphs > 0
    assert resumed.graphs > 0
    assert resumed.losses == pytest.approx(unbroken.losses, rel=1e-3)

    def moved(run):
        return torch.cat([(run.weights[name] - tensor).flatten() for name, tensor in start.items()])

    assert moved(unbroken).norm() > 0
    assert apart(moved(resumed), moved(unbroken)) < 0.02
