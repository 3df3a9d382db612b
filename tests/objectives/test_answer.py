"""answer_cross_entropy against plain loops, closed forms and the empty case."""

import math

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.answer import answer_cross_entropy
from flipkd.objectives.batch import MatchBatch


@pytest.mark.parametrize("seed", range(5))
def test_equals_plain_loops(make_batch, seed):
    batch = make_batch(9, seed=seed)
    terms = []
    for logits, label in zip(batch.answers.tolist(), batch.label.tolist(), strict=True):
        if label >= 0:
            terms.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
    assert answer_cross_entropy(batch).item() == pytest.approx(sum(terms) / len(terms), abs=1e-6)


def test_undecided_answers_cost_log_two():
    batch = MatchBatch(answers=torch.full((4, 2), 7.0), label=torch.tensor([0, 1, 1, -1]))
    assert answer_cross_entropy(batch).item() == pytest.approx(math.log(2))


def test_gradient_is_probability_minus_label_and_nothing_for_unknown():
    answers = torch.tensor([[0.0, 1.0], [2.0, 0.0], [5.0, -5.0]], requires_grad=True)
    answer_cross_entropy(MatchBatch(answers=answers, label=torch.tensor([1, 0, -1]))).backward()
    expected = (answers.detach().softmax(dim=1) - torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])) / 2
    torch.testing.assert_close(answers.grad[:2], expected[:2])
    assert answers.grad[2].tolist() == [0, 0]


def test_no_labelled_pair_gives_zero_and_backward_works():
    answers = torch.randn(3, 2, requires_grad=True)
    loss = answer_cross_entropy(MatchBatch(answers=answers, label=torch.full((3,), -1)))
    loss.backward()
    assert loss.item() == 0
    assert not answers.grad.any()


@pytest.mark.parametrize("absent", ["answers", "label"])
def test_needs_answers_and_labels(make_batch, absent):
    with pytest.raises(ConfigError, match=f"needs {absent}"):
        answer_cross_entropy(make_batch(**{absent: None}))
