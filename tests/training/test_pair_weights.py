"""Weights of pairs: what they do to the gradients of any objective, and where they come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import make_table, randomise

from flipkd.data.pair_table import PairTable, TeacherSignal
from flipkd.errors import ConfigError
from flipkd.training.batches import Collator
from flipkd.training.losses import resolve_objectives
from flipkd.training.module import DistillationModule
from flipkd.training.pair_weights import trust_weights, weigh_gradients
from flipkd.training.thresholds import teacher_calibration

FACTS = {"theta_pos": 0.5, "theta_neg": 0.0}


def gradients(make_student, table, objectives, rows=range(12)):
    student, _ = make_student()
    module = DistillationModule(randomise(student), resolve_objectives(objectives, teacher_facts=FACTS), table=table)
    out = module.train()(**Collator(student, table, return_embeddings=module.return_embeddings)(list(rows)))
    out["loss"].backward()
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None and p.grad.any()}
    return out["loss"].item(), found


def test_pair_weight_scales_what_a_pair_teaches(make_student, table):
    objectives = {"answer_cross_entropy": 1.0, "bernoulli_kd": 1.0}
    weight = np.linspace(0.1, 2, len(table), dtype=np.float32)
    _, found = gradients(make_student, replace(table, weight=weight), objectives, rows=range(4))
    each = [gradients(make_student, table, objectives, rows=[row])[1] for row in range(4)]
    for name, gradient in found.items():
        expected = sum(weight[row] * each[row][name] for row in range(4)) / 4
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("objective", ["in_batch_kl", "margin_hinge", "embed_align", "layer_score_kd"])
def test_weights_reach_every_objective_and_do_not_change_its_value(make_student, table, objective):
    plain = gradients(make_student, table, {objective: 1.0})
    ones = gradients(make_student, replace(table, weight=np.ones(len(table), np.float32)), {objective: 1.0})
    none = gradients(make_student, replace(table, weight=np.zeros(len(table), np.float32)), {objective: 1.0})
    assert plain[0] == ones[0] == none[0]
    assert all(torch.equal(gradient, ones[1][name]) for name, gradient in plain[1].items())
    assert plain[1]
    assert not [name for name in none[1] if name.startswith("student.")]


def test_weigh_gradients_gives_a_pair_of_weight_0_no_gradient_of_a_grid():
    left = torch.nn.functional.normalize(torch.randn(3, 4), dim=1).requires_grad_()
    own = left * 1.0
    weigh_gradients(torch.tensor([1.0, 0.0, 0.5]), [own, None, torch.ones(3)])
    (own @ own.T).exp().sum().backward()
    whole = left.detach().clone().requires_grad_()
    (whole @ whole.T).exp().sum().backward()
    torch.testing.assert_close(left.grad, whole.grad * torch.tensor([[1.0], [0.0], [0.5]]))


def test_trust_weights_are_the_teachers_probability_of_the_label():
    table, validation = make_table(), make_table(24, seed=1)
    label = table.label.copy()
    label[:4] = -1
    table = replace(table, label=label)
    weight = trust_weights(table, validation)
    line = teacher_calibration(table, validation)
    scores = table.teacher.pair_scores()
    for row in range(len(table)):
        probability = 1 / (1 + np.exp(-(line.slope * scores[row] + line.intercept)))
        expected = {1: probability, 0: 1 - probability, -1: 1.0}[int(label[row])]
        assert weight[row] == pytest.approx(expected, rel=1e-4)
    assert weight.dtype == np.float32
    sure = replace(table, teacher=TeacherSignal(score=np.full(len(table), 1e6, np.float32)))
    assert np.isfinite(trust_weights(sure, validation)).all()
    with pytest.raises(ConfigError, match="pair_weights=trust needs a teacher"):
        trust_weights(PairTable(left=table.left, right=table.right, label=label), validation)


def test_with_unlabelled_gives_further_pairs_of_a_table_weight_1(table):
    weighted = replace(table, weight=np.full(len(table), 0.5, np.float32))
    longer = weighted.with_unlabelled(["a"], ["b"], table.teacher.rows(np.array([0])))
    assert longer.weight.tolist() == [0.5] * len(table) + [1.0]
    assert table.with_unlabelled(["a"], ["b"], table.teacher.rows(np.array([0]))).weight is None
