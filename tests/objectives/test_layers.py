"""Objectives of the hidden states of the layers against plain loops and closed forms."""

import math

import pytest
import torch
from build_objective import build_objective

from flipkd.errors import ConfigError
from flipkd.objectives.layers import LayerScoreKd

LABEL = torch.tensor([1, 0, -1, 1, 0, 1, 0, 1])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def bernoulli_kl(q, p):
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def readouts(objective, batch):
    found = []
    for position, layer in enumerate(objective.layers):
        scores = []
        for state in batch.layer_states[:, layer].tolist():
            mean = sum(state) / len(state)
            spread = math.sqrt(sum((x - mean) ** 2 for x in state) / len(state) + 1e-5)
            weight = objective.weight[position].tolist()
            normed = sum(w * (x - mean) / spread for w, x in zip(weight, state, strict=True))
            scores.append(normed + objective.bias[position].item())
        found.append(scores)
    return found


@pytest.mark.parametrize("layers", [None, [0, -1], [2]])
def test_layer_score_kd_equals_plain_loops(make_batch, layers):
    batch = make_batch(label=LABEL)
    objective = build_objective("layer_score_kd", batch, layers=layers, temperature=0.5, teacher_slope=2.0)
    assert objective.layers == ([0, 1] if layers is None else [layer % 3 for layer in layers])
    scores, label = readouts(objective, batch), LABEL.tolist()
    errors = [
        sum(-math.log(sigmoid(s if y else -s)) for s, y in zip(row, label, strict=True) if y >= 0) / 7
        for row in scores
    ]
    weights = [math.exp(-error / 0.5) for error in errors]
    target = [sigmoid(2 * t) for t in batch.teacher.tolist()]
    terms = [sum(bernoulli_kl(q, sigmoid(s)) for q, s in zip(target, row, strict=True)) / 8 for row in scores]
    expected = sum(w * term for w, term in zip(weights, terms, strict=True)) / sum(weights)
    assert objective(batch).item() == pytest.approx(expected, rel=1e-4)


def test_the_weights_of_the_layers_are_constants(make_batch):
    batch = make_batch(label=LABEL)
    objective = build_objective("layer_score_kd", batch, temperature=0.5)
    objective(batch).backward()
    scores = torch.tensor(readouts(objective, batch))
    known = LABEL >= 0
    errors = torch.nn.functional.softplus(torch.where(LABEL == 1, -scores, scores))[:, known].mean(dim=1)
    slopes = (scores.sigmoid() - batch.teacher.sigmoid()).mean(dim=1)
    torch.testing.assert_close(objective.bias.grad, (-errors / 0.5).softmax(0) * slopes)


def test_layers_have_equal_weights_without_labels_and_0_at_a_match(make_batch):
    batch = make_batch(label=torch.full((8,), -1), teacher_pair=torch.full((8,), 0.4))
    objective = build_objective("layer_score_kd", batch)
    torch.nn.init.zeros_(objective.weight)
    torch.nn.init.constant_(objective.bias, 0.4)
    assert objective(batch).item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        objective.bias.copy_(torch.tensor([0.4, 1.4]))
    expected = bernoulli_kl(sigmoid(0.4), sigmoid(1.4)) / 2
    assert objective(batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_weights_of_layers_get_no_gradient_and_only_chosen_layers_do(make_batch):
    batch = make_batch(label=LABEL)
    build_objective("layer_score_kd", batch, layers=[1])(batch).backward()
    gradient = batch.layer_states.grad
    assert gradient[:, 1].any()
    assert not gradient[:, [0, 2]].any()


def test_layer_score_kd_refuses_a_layer_that_the_student_does_not_have():
    for layers in ([3], [-4], []):
        with pytest.raises(ConfigError, match="layers="):
            LayerScoreKd(state_shape=(3, 6), layers=layers)
    assert LayerScoreKd(state_shape=(1, 6)).layers == [0]
