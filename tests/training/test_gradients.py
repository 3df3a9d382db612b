"""Norms of each objective's gradient: what they are, where they are logged, and that measuring changes no weight."""

import json
import math

import pytest
import torch

from flipkd.training.gradients import GradientNorms, gradient_norms
from flipkd.training.metrics_file import METRICS
from flipkd.training.module import DistillationModule
from flipkd.training.run import fresh_student, run_objectives, trainer_arguments
from flipkd.training.trainer import fit


def trained(config, table, folder, *, measure_batch, **arguments):
    """(final weights, lines of metrics.jsonl with a loss) of a run over the table."""
    student, _ = fresh_student(config)
    module = DistillationModule(student, run_objectives(config, table, table))
    fit(
        module,
        table,
        output_dir=folder,
        arguments=trainer_arguments(config) | arguments,
        log_gradient_norms=measure_batch,
    )
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return module.state_dict(), [line for line in lines if "loss" in line]


def test_gradient_norms_are_those_of_each_term():
    first, second, unused = (torch.nn.Parameter(torch.tensor(x)) for x in ([3.0, 4.0], [1.0], [2.0]))
    shared = first.square().sum() * second.sum()
    terms = [shared, 2.0 * first.sum(), torch.tensor(7.0)]
    norms = gradient_norms(terms, [first, second, unused])
    assert norms.tolist() == pytest.approx([math.hypot(6, 8, 25), math.hypot(2, 2), 0.0])
    assert first.grad is second.grad is unused.grad is None
    sum(terms).backward()
    assert second.grad.tolist() == [25.0]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_log_gradient_norms_changes_no_weight_and_is_logged(make_config, table, tmp_path, checkpointing):
    config = make_config(
        num_train_epochs=1,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        logging_steps=2,
        activation_checkpointing=checkpointing,
    )
    assert config.lora_dropout > 0, "so that the state of the random generator matters"
    weights, plain = trained(config, table, tmp_path / "off", measure_batch=False)
    same, lines = trained(config, table, tmp_path / "on", measure_batch=True)
    assert all(torch.equal(same[name], weights[name]) for name in weights)
    names = {f"grad_norm_{name}" for name in config.objectives}
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(names <= line.keys() for line in lines)
    assert all(any(line[name] > 0 for line in lines) for name in names)
    assert [{name: line[name] for name in line.keys() - names} for line in lines] == plain


def test_gradient_norm_of_a_single_objective_is_that_of_the_gradient(make_config, table, tmp_path):
    config = make_config(num_train_epochs=1, objectives={"in_batch_kl": 2.0}, lora_dropout=0.0)
    for line in trained(config, table, tmp_path / "run", measure_batch=True, max_steps=3)[1]:
        assert line["grad_norm_in_batch_kl"] == pytest.approx(line["grad_norm"], rel=1e-4)


class State:
    global_step, logging_steps = 9, 10


def test_gradient_norms_are_not_measured_with_cuda_graphs(make_config, table, caplog):
    student, _ = fresh_student(make_config())
    module = DistillationModule(student, run_objectives(make_config(), table, table))
    watcher = GradientNorms(module)
    watcher.on_train_begin(None, State, None)
    watcher.on_step_begin(None, State, None)
    assert module.measure_gradients
    assert not caplog.records
    module.graphed = object()
    watcher.on_train_begin(None, State, None)
    watcher.on_step_begin(None, State, None)
    assert not module.measure_gradients
    assert "no effect where steps run as CUDA graphs" in caplog.text


def test_gradient_norms_are_not_measured_in_evaluation(make_config, table):
    """An evaluation without gradients comes behind a step that was logged."""
    from flipkd.training.batches import Collator

    student, _ = fresh_student(make_config())
    module = DistillationModule(student, run_objectives(make_config(), table, table)).eval()
    module.measure_gradients = True
    with torch.no_grad():
        module(**Collator(student, table, return_embeddings=True)(list(range(8))))
    assert not module.recorder.gradient_norms
