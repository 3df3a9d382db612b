"""The objectives of labels alone against plain loops, closed forms and torch's own functions."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.labels import cosent, info_nce


@pytest.mark.parametrize("seed", range(5))
def test_cosent_equals_plain_loops(make_batch, seed):
    batch = make_batch(9, seed=seed)
    rows = list(zip(batch.pair_similarity.tolist(), batch.label.tolist(), strict=True))
    powers = [math.exp((low - high) / 0.2) for high, y in rows for low, other in rows if y == 1 and other == 0]
    assert cosent(batch, temperature=0.2).item() == pytest.approx(math.log(1 + sum(powers)), rel=1e-5)


def test_cosent_in_closed_form():
    same = MatchBatch(left=torch.eye(2), right=torch.eye(2), label=torch.tensor([1, 0]))
    assert cosent(same).item() == pytest.approx(math.log(2))
    apart = MatchBatch(left=torch.eye(2), right=torch.tensor([[1.0, 0.0], [0.0, -1.0]]), label=torch.tensor([1, 0]))
    assert cosent(apart).item() == pytest.approx(0, abs=1e-6)
    alone = torch.eye(2, requires_grad=True)
    loss = cosent(MatchBatch(left=alone, right=torch.eye(2), label=torch.tensor([1, -1])))
    loss.backward()
    assert loss.item() == 0
    assert not alone.grad.any()


def loop_nce(similarity, usable, positive, tau):
    terms = []
    for i, label in enumerate(positive):
        cells = [j for j, use in enumerate(usable[i]) if use]
        if label == 1 and len(cells) > 1:
            total = sum(math.exp(similarity[i][j] / tau) for j in cells)
            terms.append(-math.log(math.exp(similarity[i][i] / tau) / total))
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [7, 10])
def test_info_nce_equals_plain_loops(make_batch, seed, columns):
    batch = make_batch(7, columns=columns, seed=seed)
    usable, label = batch.valid_mask & ~batch.label_mask(1) | batch.pair_mask, batch.label.tolist()
    cells = [batch.similarity.tolist(), usable.tolist()]
    turned = [[list(column) for column in zip(*rows, strict=True)] for rows in cells]
    expected = (loop_nce(*cells, label, 0.3) + loop_nce(*turned, label, 0.3)) / 2
    assert info_nce(batch, temperature=0.3).item() == pytest.approx(expected, rel=1e-5)


def test_info_nce_of_matches_alone_is_the_cross_entropy_of_both_directions(make_batch):
    batch = make_batch(6, left_id=None, right_id=None, label=torch.ones(6, dtype=torch.long))
    logits, own = batch.similarity / 0.05, torch.arange(6)
    torch.testing.assert_close(info_nce(batch), (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2)


@pytest.mark.parametrize("objective", [cosent, info_nce])
def test_label_objectives_need_labels_and_a_temperature_but_no_teacher(make_batch, objective):
    assert torch.isfinite(objective(make_batch(teacher_grid=None, teacher_left=None, teacher_right=None)))
    with pytest.raises(ConfigError, match="needs label"):
        objective(make_batch(label=None))
    for value in (0.0, math.nan):
        with pytest.raises(ConfigError, match=f"temperature={value}"):
            objective(make_batch(), temperature=value)
