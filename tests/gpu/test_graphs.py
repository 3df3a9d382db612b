"""Steps replayed as CUDA graphs give the losses and gradients of ordinary ones; what cannot be recorded runs as usual."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from device_runs import DEFAULT, FACTS, module_of
from devices import apart, each_device
from tiny import make_table

from flipkd.objectives import MatchBatch
from flipkd.training.losses import WeightedObjective, resolve_objectives
from flipkd.training.module import DistillationModule

GRAPHS = "flipkd.training.graphs"
STEPS = 6
CASES = [
    ("llama", "joint", "float32", 1),
    ("qwen2", "separate", "float32", 2),
    ("gemma3", "blocked", "float32", 1),
    ("llama", "joint", "bfloat16", 2),
]


@each_device
@pytest.mark.parametrize("family,reading,dtype,batches", CASES)
def test_losses_and_gradients_are_those_of_ordinary_steps(
    student_on, train, caplog, device, family, reading, dtype, batches
):
    """Also where an update adds up the gradients of two batches."""
    found, settings = {}, {"reading": reading, "dtype": dtype}
    for graphs in (True, False):
        module = module_of(student_on(device, family, **settings))
        run = {"graphs": graphs, "steps": STEPS, "gradient_accumulation_steps": batches}
        found[graphs] = train(module, make_table(), f"graphs-{graphs}", **run)
        assert module.graphed is None
        assert not module.student.pad_to_buckets, "for scoring"
    ours, usual = found[True], found[False]
    assert usual.graphs == 0
    assert ours.graphs > 0, "no step was recorded"
    assert not [record for record in caplog.records if record.name == GRAPHS]
    loose = dtype == "bfloat16"
    assert ours.losses == pytest.approx(usual.losses, rel=0.03 if loose else 1e-4)
    assert len(ours.gradients) == STEPS
    assert usual.gradients[-1].any()
    for number, (gradients, expected) in enumerate(zip(ours.gradients, usual.gradients, strict=True)):
        assert apart(gradients, expected) < (0.15 if loose else 1e-3), f"step {number + 1}"


def reads_a_value(batch: MatchBatch) -> torch.Tensor:
    """An objective that makes the host wait, which no graph can record."""
    return batch.score.square().mean() * (1.0 if batch.score.detach().sum().item() < 1e9 else 2.0)


@each_device
def test_a_step_that_cannot_be_recorded_runs_as_usual(student_on, train, caplog, device):
    terms = resolve_objectives(DEFAULT, teacher_facts=FACTS)
    terms.append(WeightedObjective("reads_a_value", 0.1, reads_a_value, frozenset({"answers"})))
    module = DistillationModule(student_on(device), terms)
    with caplog.at_level(logging.WARNING):
        done = train(module, make_table(), "run", graphs=True, steps=STEPS)
    warnings = [record for record in caplog.records if record.name == GRAPHS]
    assert len(warnings) == (1 if device == "cuda" else 0)
    assert len(done.losses) == STEPS
    assert all(math.isfinite(loss) for loss in done.losses)
    assert all(gradients.isfinite().all() for gradients in done.gradients)
    if device == "cuda":
        assert done.graphs == 0
        first, second = (torch.rand(1000, device=device) for _ in range(2))
        assert not torch.equal(first, second), "the random generator has come back from the recording"
        assert first.isfinite().all()
