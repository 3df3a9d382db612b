"""order_consistency: against plain loops, in closed form, and without both orders of any pair."""

import math

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives import order_consistency
from flipkd.objectives.batch import MatchBatch


def kl(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


@pytest.mark.parametrize("seed", range(5))
def test_order_consistency_equals_plain_loops(make_batch, seed):
    pair_id = (
        torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:9] // 2
    )  # some pairs in one order only
    batch = make_batch(9, seed=seed, pair_id=pair_id)
    match = [1 / (1 + math.exp(no - yes)) for no, yes in batch.answers.tolist()]
    terms = [
        (kl(match[i], match[j]) + kl(match[j], match[i])) / 2
        for i in range(9)
        for j in range(i)
        if pair_id[i] == pair_id[j]
    ]
    assert terms
    assert order_consistency(batch).item() == pytest.approx(sum(terms) / len(terms), abs=1e-6)


def test_order_consistency_of_log_odds_1_and_minus_1_is_tanh_of_a_half_and_pulls_both():
    answers = torch.tensor([[0.0, 1.0], [0.0, 30.0], [0.0, -1.0]], requires_grad=True)
    loss = order_consistency(MatchBatch(answers=answers, pair_id=torch.tensor([4, 7, 4])))
    loss.backward()
    assert loss.item() == pytest.approx(math.tanh(0.5))
    assert answers.grad[0, 1].item() == pytest.approx(-answers.grad[2, 1].item())
    assert answers.grad[0, 1] > 0
    assert answers.grad[1].tolist() == [0, 0]


def test_order_consistency_of_equal_answers_is_0():
    answers = torch.tensor([[3.0, 1.0], [5.0, 3.0]])
    assert order_consistency(MatchBatch(answers=answers, pair_id=torch.tensor([0, 0]))).item() == 0


def test_order_consistency_without_both_orders_is_0_and_has_a_gradient():
    answers = torch.randn(3, 2, requires_grad=True)
    loss = order_consistency(MatchBatch(answers=answers, pair_id=torch.arange(3)))
    loss.backward()
    assert loss.item() == 0
    assert not answers.grad.any()


@pytest.mark.parametrize("absent", ["answers", "pair_id"])
def test_order_consistency_needs_answers_and_pair_ids(make_batch, absent):
    with pytest.raises(ConfigError, match=f"needs {absent}"):
        order_consistency(make_batch(**{absent: None}))
