"""Health checks stop a run that cannot learn, and pass a healthy one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flipkd.data.pair_table import PairTable
from flipkd.errors import NumbersError
from flipkd.training.health_checks import PATIENCE, HealthChecks
from flipkd.training.module import DistillationModule
from flipkd.training.record import StepReport
from flipkd.training.run import fresh_student, run_objectives
from flipkd.training.trainer import fit

PLAIN = {"answer_cross_entropy": 1.0}


def run(config, table, tmp_path, spoil=None, **changes):
    student, _ = fresh_student(config)
    module = DistillationModule(student, run_objectives(config, table, table))
    if spoil:
        spoil(module)
    arguments = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": config.learning_rate,
        "save_steps": 1000,
        "disable_tqdm": True,
    } | changes
    return fit(module, table, output_dir=tmp_path / "run", arguments=arguments)


def test_health_checks_pass_a_healthy_run(make_config, table, tmp_path):
    assert run(make_config(), table, tmp_path)["train_loss"] > 0


def test_check_loss_stops_after_ten_losses_of_0(make_config, table, tmp_path):
    unlabelled = PairTable(left=table.left, right=table.right, label=np.full(len(table), -1))
    with pytest.raises(NumbersError, match="exactly 0"):
        run(make_config(objectives=PLAIN), unlabelled, tmp_path)


@pytest.mark.parametrize("accumulated", [1, 3])
def test_health_checks_pass_batches_of_one_pair(make_config, table, tmp_path, accumulated):
    label = np.where(np.arange(48) < 12, -1, table.label)  # as many in a row may be unlabelled
    table = replace(table, label=label)
    changes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": accumulated, "num_train_epochs": 1}
    assert run(make_config(), table, tmp_path, **changes)["train_loss"] > 0


def test_check_loss_of_a_step_needs_one_batch_with_a_loss(make_config, table):
    config = make_config(objectives=PLAIN)
    module = DistillationModule(fresh_student(config)[0], run_objectives(config, table, table))
    checks = HealthChecks(module)
    for step in range(2 * PATIENCE):
        checks._check_loss(report(step, any_loss=True))
    with pytest.raises(NumbersError, match="exactly 0"):
        for step in range(PATIENCE):
            checks._check_loss(report(step, any_loss=False))


def report(step, **changes):
    values = {"loss": 0.0, "any_loss": True, "objectives": {}, "score_spread": 1.0, "largest_logit": 1.0}
    return StepReport(step=step, pairs=8, **(values | {"finite_rows": True, "finite_gradients": True} | changes))


@pytest.mark.parametrize("dtype,noise", [("float32", 3e-7), ("bfloat16", 1e-3)])
def test_rounding_tolerance_treats_rows_that_differ_by_rounding_as_equal(make_config, table, dtype, noise):
    config = make_config(objectives=PLAIN, dtype=dtype)
    module = DistillationModule(fresh_student(config)[0], run_objectives(config, table, table))
    checks = HealthChecks(module)
    for step in range(2 * PATIENCE):
        checks._check_scores(report(step, score_spread=20 * noise))
    with pytest.raises(NumbersError, match="does not depend on the texts"):
        for step in range(PATIENCE):
            checks._check_scores(report(step, score_spread=noise))


def test_check_scores_stops_after_ten_constant_batches(make_config, table, tmp_path):
    same = PairTable(left=["pin"] * 48, right=["card"] * 48, label=table.label)
    with pytest.raises(NumbersError, match="does not depend on the texts"):
        run(make_config(objectives=PLAIN, lora_dropout=0.0), same, tmp_path)


def test_check_gradients_names_a_tensor_without_gradient(make_config, table, tmp_path):
    def spoil(module):
        module.student.forgotten = torch.nn.Parameter(torch.ones(3))

    with pytest.raises(NumbersError, match=r"student\.forgotten"):
        run(make_config(objectives=PLAIN), table, tmp_path, spoil)


@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_check_gradients_ignores_modules_of_the_answer_without_an_answer_objective(
    make_config, table, tmp_path, reading
):
    config = make_config(objectives={"in_batch_kl": 1.0}, score="cosine", reading=reading)
    assert run(config, table, tmp_path)["train_loss"] > 0


def broken_at(call, change):
    """Spoils the match of one batch and keeps the weights of that moment."""
    kept, rows = {"calls": 0}, []

    def spoil(module):
        forward, inner = module.forward, module._loss

        def noted(**batch):
            rows.append(batch["row"].tolist())
            return forward(**batch)

        def loss(match):
            kept["calls"] += 1
            if kept["calls"] == call:
                kept["weights"] = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
                kept["rows"] = rows[-1]
                match = change(match)
            if kept["calls"] == call + 1:
                kept["after"] = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
            return inner(match)

        module._loss, module.forward = loss, noted

    return kept, spoil


@pytest.mark.scenario("T6")
def test_a_step_that_is_not_finite_changes_no_weight_and_is_named(make_config, table, tmp_path):
    def change(match):
        answers = match.answers.clone()
        answers[1] = float("nan")
        return type(match)(answers=answers, label=match.label)

    kept, spoil = broken_at(5, change)
    with pytest.raises(NumbersError, match="not finite") as caught:
        run(make_config(objectives=PLAIN), table, tmp_path, spoil)
    said = str(caught.value)
    assert said.startswith("step 5: the loss is not finite (answer_cross_entropy nan)")
    assert f"in training rows {kept['rows'][1]};" in said
    assert "the forward pass of the model caused it; set attn_implementation to eager" in said
    assert all(torch.equal(kept["after"][name], weight) for name, weight in kept["weights"].items())


@pytest.mark.scenario("T6")
def test_health_checks_distinguish_gradients_that_break_under_a_finite_loss(make_config, table, tmp_path):
    class Breaks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    kept, spoil = broken_at(3, lambda match: type(match)(answers=Breaks.apply(match.answers), label=match.label))
    with pytest.raises(NumbersError, match="step 3: the gradients are not finite") as caught:
        run(make_config(objectives=PLAIN), table, tmp_path, spoil)
    assert "the backward pass caused it" in str(caught.value)
    assert all(torch.equal(kept["after"][name], weight) for name, weight in kept["weights"].items())


def test_check_finite_names_the_objective_that_is_not_finite(make_config, table, tmp_path):
    _, spoil = broken_at(
        2, lambda match: replace(match, label=match.label, teacher_grid=match.teacher_grid * float("nan"))
    )
    with pytest.raises(NumbersError, match="so in_batch_kl caused it"):
        run(make_config(objectives=PLAIN | {"in_batch_kl": 1.0}), table, tmp_path, spoil)


def test_health_checks_stop_an_optimizer_that_cannot_skip_at_once(make_config, table, tmp_path):
    kept, spoil = broken_at(5, lambda match: type(match)(answers=match.answers * float("nan"), label=match.label))
    with pytest.raises(NumbersError, match="step 5: the loss is not finite"):
        run(make_config(objectives=PLAIN), table, tmp_path, spoil, optim="sgd")
    assert kept["calls"] == 5


@pytest.mark.scenario("T6")
def test_health_checks_leave_no_checkpoint_with_what_is_not_finite(make_config, table, tmp_path):
    _, spoil = broken_at(6, lambda match: type(match)(answers=match.answers * float("inf"), label=match.label))
    with pytest.raises(NumbersError, match="step 6"):
        run(make_config(objectives=PLAIN), table, tmp_path, spoil, save_steps=2)
    kept = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert kept == ["checkpoint-2", "checkpoint-4"]
    for name in kept:
        state = load_file(tmp_path / "run" / name / "model.safetensors")
        assert all(tensor.isfinite().all() for tensor in state.values())
