"""CUDA graphs give the losses and gradients of eager steps; a step that cannot be captured runs eagerly."""

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


@pytest.mark.slow
@each_device
@pytest.mark.parametrize("family,reading,dtype,batches", CASES)
def test_graphed_steps_equal_eager_steps(student_on, train, caplog, device, family, reading, dtype, batches):
    """Also with gradient accumulation over two batches."""
    found, settings = {}, {"reading": reading, "dtype": dtype}
    for graphs in (True, False):
        module = module_of(student_on(device, family, **settings))
        run = {"graphs": graphs, "steps": STEPS, "gradient_accumulation_steps": batches}
        found[graphs] = train(module, make_table(), f"graphs-{graphs}", **run)
        assert module.graphed is None
        assert not module.student.pad_to_buckets, "scoring needs no buckets"
    graphed, eager = found[True], found[False]
    assert eager.graphs == 0
    assert graphed.graphs > 0, "no step was captured"
    assert not [record for record in caplog.records if record.name == GRAPHS]
    loose = dtype == "bfloat16"
    assert graphed.losses == pytest.approx(eager.losses, rel=0.03 if loose else 1e-4)
    assert len(graphed.gradients) == STEPS
    assert eager.gradients[-1].any()
    for number, (gradients, expected) in enumerate(zip(graphed.gradients, eager.gradients, strict=True)):
        assert apart(gradients, expected) < (0.15 if loose else 1e-3), f"step {number + 1}"


def reads_a_value(batch: MatchBatch) -> torch.Tensor:
    """An objective that makes the host wait for the GPU, which a graph cannot capture."""
    return batch.score.square().mean() * (1.0 if batch.score.detach().sum().item() < 1e9 else 2.0)


@each_device
def test_graphed_step_falls_back_to_eager_steps(student_on, train, caplog, device):
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
        assert not torch.equal(first, second), "the random generator works after the failed capture"
        assert first.isfinite().all()
