"""Sentinels stop a run that cannot be learning, and leave a healthy one alone."""

import numpy as np
import pytest
import torch

from flipkd.errors import NumbersError
from flipkd.training.batches import PairTable
from flipkd.training.module import DistillationModule
from flipkd.training.run import fresh_student, run_objectives
from flipkd.training.sentinels import PATIENCE, Sentinels
from flipkd.training.trainer import fit

PLAIN = {"answer_cross_entropy": 1.0}


def run(config, table, tmp_path, spoil=None):
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
    }
    return fit(module, table, output_dir=tmp_path / "run", arguments=arguments)


def test_a_healthy_run_is_left_alone(make_config, table, tmp_path):
    assert run(make_config(), table, tmp_path)["train_loss"] > 0


def test_loss_of_exactly_zero(make_config, table, tmp_path):
    unlabelled = PairTable(left=table.left, right=table.right, label=np.full(len(table), -1))
    with pytest.raises(NumbersError, match="exactly 0"):
        run(make_config(objectives=PLAIN), unlabelled, tmp_path)


def test_a_step_of_several_batches_has_a_loss_when_one_of_them_has(make_config, table):
    config = make_config(objectives=PLAIN)
    module = DistillationModule(fresh_student(config)[0], run_objectives(config, table, table))
    sentinels = Sentinels(module)
    for _ in range(2 * PATIENCE):
        module.losses += [0.5, 0.0]
        sentinels._zero_loss()
    with pytest.raises(NumbersError, match="exactly 0"):
        for _ in range(PATIENCE):
            module.losses += [0.0, 0.0]
            sentinels._zero_loss()


def test_constant_scores(make_config, table, tmp_path):
    same = PairTable(left=["pin"] * 48, right=["card"] * 48, label=table.label)
    with pytest.raises(NumbersError, match="does not depend on the texts"):
        run(make_config(objectives=PLAIN, lora_dropout=0.0), same, tmp_path)


def test_a_trainable_tensor_without_gradient(make_config, table, tmp_path):
    def spoil(module):
        module.student.forgotten = torch.nn.Parameter(torch.ones(3))

    with pytest.raises(NumbersError, match=r"student\.forgotten"):
        run(make_config(objectives=PLAIN), table, tmp_path, spoil)


@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_what_only_the_answer_reads_may_stand_still_where_none_is_learnt(make_config, table, tmp_path, reading):
    config = make_config(objectives={"in_batch_kl": 1.0}, score="cosine", reading=reading)
    assert run(config, table, tmp_path)["train_loss"] > 0


def test_a_loss_that_is_not_finite_stops_before_the_weights_move(make_config, table, tmp_path):
    kept = {}

    def spoil(module):
        forward = module._loss

        def loss(match):
            kept["weights"] = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
            kept["module"] = module
            kept["calls"] = kept.get("calls", 0) + 1
            if kept["calls"] == 5:
                match = type(match)(answers=match.answers * float("nan"), label=match.label)
            return forward(match)

        module._loss = loss

    with pytest.raises(NumbersError, match="not finite"):
        run(make_config(objectives=PLAIN), table, tmp_path, spoil)
    after = {n: p for n, p in kept["module"].named_parameters() if p.requires_grad}
    assert all(torch.equal(after[name], weight) for name, weight in kept["weights"].items())
    assert all(weight.isfinite().all() for weight in after.values())
