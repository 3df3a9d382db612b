"""The answer objectives against plain loops, closed forms and the empty case."""

import math

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.answer import (
    answer_cross_entropy,
    answer_with_teacher,
    bernoulli_kd,
    margin_mse,
    pairwise_pref_kl,
    ranknet_distill,
)
from flipkd.objectives.batch import MatchBatch


@pytest.mark.parametrize("seed", range(5))
def test_answer_cross_entropy_equals_plain_loops(make_batch, seed):
    batch = make_batch(9, seed=seed)
    terms = []
    for logits, label in zip(batch.answers.tolist(), batch.label.tolist(), strict=True):
        if label >= 0:
            terms.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
    assert answer_cross_entropy(batch).item() == pytest.approx(sum(terms) / len(terms), abs=1e-6)


def test_answer_cross_entropy_of_equal_logits_is_log_two():
    batch = MatchBatch(answers=torch.full((4, 2), 7.0), label=torch.tensor([0, 1, 1, -1]))
    assert answer_cross_entropy(batch).item() == pytest.approx(math.log(2))


def test_answer_cross_entropy_gradient_is_probability_minus_label_and_0_for_unknown_labels():
    answers = torch.tensor([[0.0, 1.0], [2.0, 0.0], [5.0, -5.0]], requires_grad=True)
    answer_cross_entropy(MatchBatch(answers=answers, label=torch.tensor([1, 0, -1]))).backward()
    expected = (answers.detach().softmax(dim=1) - torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])) / 2
    torch.testing.assert_close(answers.grad[:2], expected[:2])
    assert answers.grad[2].tolist() == [0, 0]


def test_answer_cross_entropy_ignores_a_nan_answer_without_label():
    answers = torch.tensor([[0.0, 1.0], [float("nan"), float("inf")]], requires_grad=True)
    loss = answer_cross_entropy(MatchBatch(answers=answers, label=torch.tensor([1, -1])))
    loss.backward()
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)))
    assert answers.grad[1].tolist() == [0, 0]


def test_answer_cross_entropy_without_labelled_pairs_is_0_and_has_a_gradient():
    answers = torch.randn(3, 2, requires_grad=True)
    loss = answer_cross_entropy(MatchBatch(answers=answers, label=torch.full((3,), -1)))
    loss.backward()
    assert loss.item() == 0
    assert not answers.grad.any()


@pytest.mark.parametrize("absent", ["answers", "label"])
def test_answer_cross_entropy_needs_answers_and_labels(make_batch, absent):
    with pytest.raises(ConfigError, match=f"needs {absent}"):
        answer_cross_entropy(make_batch(**{absent: None}))


@pytest.mark.parametrize("seed", range(5))
def test_answer_with_teacher_equals_plain_loops(make_batch, seed):
    batch = make_batch(9, seed=seed, teacher_pair=torch.rand(9))  # out-of-fold scores, other than the grid's diagonal
    terms = []
    for (no, yes), score, label in zip(
        batch.answers.tolist(), batch.teacher_pair.tolist(), batch.label.tolist(), strict=True
    ):
        p = 1 / (1 + math.exp(-(yes - no + 0.5 * (4 * score - 1))))
        terms += [-math.log(p if label == 1 else 1 - p)] if label >= 0 else []
    ours = answer_with_teacher(batch, teacher_weight=0.5, teacher_slope=4, teacher_intercept=-1)
    assert ours.item() == pytest.approx(sum(terms) / len(terms), abs=1e-5)


def test_answer_with_teacher_learns_only_what_the_teacher_does_not_know():
    answers = torch.zeros(4, 2, requires_grad=True)
    log_odds = torch.tensor([30.0, -30.0, 0.0, 2.0])  # sure and right, sure and right, unsure, without label
    batch = MatchBatch(answers=answers, label=torch.tensor([1, 0, 1, -1]), teacher_pair=log_odds)
    loss = answer_with_teacher(batch)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2) / 3)
    torch.testing.assert_close(answers.grad[:, 1], torch.tensor([0.0, 0.0, -0.5 / 3, 0.0]))
    torch.testing.assert_close(answers.grad[:, 0], -answers.grad[:, 1])


def test_answer_with_teacher_of_weight_0_is_the_answer_cross_entropy(make_batch):
    batch = make_batch()
    torch.testing.assert_close(answer_with_teacher(batch, teacher_weight=0.0), answer_cross_entropy(batch))
    with pytest.raises(ConfigError, match=r"teacher_weight=-1: must be at least 0"):
        answer_with_teacher(batch, teacher_weight=-1)


def test_answer_with_teacher_without_labelled_pairs_is_0_even_with_a_nan_answer():
    answers = torch.full((3, 2), float("nan"), requires_grad=True)
    loss = answer_with_teacher(MatchBatch(answers=answers, label=torch.full((3,), -1), teacher_pair=torch.ones(3)))
    loss.backward()
    assert loss.item() == 0
    assert not answers.grad.any()


@pytest.mark.parametrize("seed", range(5))
def test_bernoulli_kd_equals_plain_loops(make_batch, seed):
    batch = make_batch(9, seed=seed)
    terms = []
    for (no, yes), cosine in zip(batch.answers.tolist(), batch.teacher.tolist(), strict=True):
        p, q = 1 / (1 + math.exp(no - yes)), 1 / (1 + math.exp(-(4 * cosine - 1)))
        terms.append(q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p)))
    ours = bernoulli_kd(batch, teacher_slope=4, teacher_intercept=-1)
    assert ours.item() == pytest.approx(sum(terms) / len(terms), abs=1e-5)


def test_bernoulli_kd_is_0_at_a_match_and_its_gradient_is_p_minus_q():
    log_odds = torch.tensor([-2.0, 0.0, 90.0])
    same = MatchBatch(answers=torch.stack([torch.zeros(3), log_odds], dim=1), teacher_pair=log_odds)
    assert bernoulli_kd(same).item() == pytest.approx(0, abs=1e-6)
    answers = torch.zeros(3, 2, requires_grad=True)
    bernoulli_kd(MatchBatch(answers=answers, teacher_pair=log_odds)).backward()
    torch.testing.assert_close(answers.grad[:, 1], (0.5 - log_odds.sigmoid()) / 3)
    torch.testing.assert_close(answers.grad[:, 0], -answers.grad[:, 1])


@pytest.mark.parametrize("seed", range(5))
def test_margin_mse_equals_plain_loops(make_batch, seed):
    batch = make_batch(9, seed=seed)
    rows = list(zip(batch.score.tolist(), batch.teacher.tolist(), batch.label.tolist(), strict=True))
    terms = [
        ((s - s_other) - 3 * (t - t_other)) ** 2
        for s, t, label in rows
        for s_other, t_other, other in rows
        if label == 1 and other == 0
    ]
    ours = margin_mse(batch, teacher_slope=3, teacher_intercept=5)
    assert ours.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_margin_mse_depends_on_gaps_alone():
    log_odds, label = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1, 0, 0])
    shifted = torch.stack([torch.zeros(3), log_odds + 7], dim=1)
    assert margin_mse(MatchBatch(answers=shifted, label=label, teacher_pair=log_odds)).item() == pytest.approx(0)
    stretched = torch.stack([torch.zeros(3), 2 * log_odds], dim=1)
    loss = margin_mse(MatchBatch(answers=stretched, label=label, teacher_pair=log_odds))
    assert loss.item() == pytest.approx((3**2 + 1.5**2) / 2)


@pytest.mark.parametrize("objective", [answer_with_teacher, bernoulli_kd, margin_mse, pairwise_pref_kl])
def test_answer_with_teacher_slope_and_intercept_gives_log_odds(make_batch, objective):
    with pytest.raises(ConfigError, match="needs teacher_pair"):
        objective(make_batch(teacher_grid=None))
    with pytest.raises(ConfigError, match=r"teacher_slope=0\.0: must be above 0"):
        objective(make_batch(), teacher_slope=0.0)
    alone = make_batch(3, label=torch.ones(3, dtype=torch.long))
    objective(alone).backward()
    assert torch.isfinite(alone.answers.grad).all()


def test_margin_mse_without_both_classes_is_0(make_batch):
    assert margin_mse(make_batch(4, label=torch.tensor([1, 1, -1, -1]))).item() == 0


@pytest.mark.parametrize("seed", range(5))
def test_pairwise_pref_kl_equals_plain_loops(make_batch, seed):
    batch = make_batch(9, seed=seed)
    rows = list(zip(batch.score.tolist(), batch.teacher.tolist(), strict=True))
    terms = []
    for i, (s, t) in enumerate(rows):
        for j, (s_other, t_other) in enumerate(rows):
            if i != j:
                p, q = 1 / (1 + math.exp(s_other - s)), 1 / (1 + math.exp(-3 * (t - t_other)))
                terms.append(q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p)))
    ours = pairwise_pref_kl(batch, teacher_slope=3, teacher_intercept=5)
    assert ours.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_pairwise_pref_kl_depends_on_gaps_alone_and_pulls_ties_together():
    log_odds = torch.tensor([2.0, -1.0, 0.5])
    shifted = torch.stack([torch.zeros(3), log_odds + 7], dim=1)
    assert pairwise_pref_kl(MatchBatch(answers=shifted, teacher_pair=log_odds)).item() == pytest.approx(0, abs=1e-6)
    answers = torch.tensor([[0.0, 1.0], [0.0, -1.0]], requires_grad=True)
    loss = pairwise_pref_kl(MatchBatch(answers=answers, teacher_pair=torch.zeros(2)))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(math.cosh(1)), rel=1e-5)  # BCE(2, 1/2) - log 2
    assert answers.grad[0, 1] > 0 > answers.grad[1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_ranknet_distill_equals_plain_loops_and_depends_on_the_order_alone(make_batch, seed):
    batch = make_batch(9, seed=seed)
    rows = list(zip(batch.score.tolist(), batch.teacher.tolist(), strict=True))
    terms = [math.log(1 + math.exp(other - s)) for s, t in rows for other, t_other in rows if t > t_other]
    assert len(terms) == 36
    assert ranknet_distill(batch).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    stretched = make_batch(9, seed=seed, teacher_grid=(5 * batch.teacher_grid).exp())
    assert ranknet_distill(stretched).item() == ranknet_distill(batch).item()


def test_ranknet_distill_in_closed_form():
    answers = torch.zeros(3, 2, requires_grad=True)
    loss = ranknet_distill(MatchBatch(answers=answers, teacher_pair=torch.tensor([0.9, 0.1, 0.5])))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    torch.testing.assert_close(answers.grad[:, 1], torch.tensor([-1 / 3, 1 / 3, 0.0]))
    tied = MatchBatch(answers=answers, teacher_pair=torch.full((3,), 0.5))
    assert ranknet_distill(tied).item() == 0
