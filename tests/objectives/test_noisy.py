"""Objectives for noisy teachers and labels against plain loops and closed forms."""

import math

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.answer import answer_cross_entropy, bernoulli_kd
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.noisy import hard_kd, jsd_kd, sample_fusion, standardised_kd, symmetric_cross_entropy

LINE = {"teacher_slope": 2.0, "teacher_intercept": 0.3}


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def bernoulli_kl(q, p):
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def of(scores, teacher, label=None):
    answers = torch.stack([torch.zeros(len(scores)), torch.tensor(scores)], dim=1)
    label = torch.tensor(label or [1] * len(scores))
    return MatchBatch(answers=answers, teacher_pair=torch.tensor(teacher), label=label)


@pytest.mark.parametrize("seed", range(3))
def test_noisy_equal_plain_loops(make_batch, seed):
    batch = make_batch(seed=seed)
    p = [sigmoid(score) for score in batch.score.tolist()]
    q = [sigmoid(2 * score + 0.3) for score in batch.teacher.tolist()]
    label = batch.label.tolist()
    jsd = [
        0.3 * bernoulli_kl(b, 0.3 * b + 0.7 * a) + 0.7 * bernoulli_kl(a, 0.3 * b + 0.7 * a)
        for a, b in zip(p, q, strict=True)
    ]
    assert jsd_kd(batch, beta=0.3, **LINE).item() == pytest.approx(sum(jsd) / 8, rel=1e-4)
    fused = []
    for a, b, y in zip(p, q, label, strict=True):
        trust = {1: b, 0: 1 - b, -1: 1.0}[y]
        fused.append(trust * bernoulli_kl(b, a) - (1 - trust) * math.log(a if y == 1 else 1 - a))
    assert sample_fusion(batch, **LINE).item() == pytest.approx(sum(fused) / 8, rel=1e-4)
    of_label = [a if y == 1 else 1 - a for a, y in zip(p, label, strict=True) if y >= 0]
    symmetric = [-0.1 * math.log(a) + 4 * (1 - a) for a in of_label]
    assert symmetric_cross_entropy(batch).item() == pytest.approx(sum(symmetric) / len(symmetric), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_standardised_kd_equals_plain_loops(make_batch, seed):
    batch = make_batch(seed=seed)

    def standardised(values):
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values) + 1e-5)
        return [(value - mean) / spread for value in values]

    student, teacher = standardised(batch.score.tolist()), standardised(batch.teacher.tolist())
    terms = [bernoulli_kl(sigmoid(t / 2), sigmoid(s / 2)) for s, t in zip(student, teacher, strict=True)]
    assert standardised_kd(batch, temperature=2.0).item() == pytest.approx(sum(terms) / 8, rel=1e-3)


def test_jsd_kd_is_0_at_a_match_symmetric_bounded_and_near_the_forward_kl():
    assert jsd_kd(of([1.0, -2.0], [1.0, -2.0])).item() == pytest.approx(0, abs=1e-6)
    assert jsd_kd(of([1.0], [-3.0])).item() == pytest.approx(jsd_kd(of([-3.0], [1.0])).item(), rel=1e-5)
    assert jsd_kd(of([80.0], [-80.0])).item() == pytest.approx(math.log(2), rel=1e-5)
    near = jsd_kd(of([1.0, -1.0], [0.5, 2.0]), beta=1e-3).item() / 1e-3
    assert near == pytest.approx(bernoulli_kd(of([1.0, -1.0], [0.5, 2.0])).item(), rel=0.01)
    for beta in (0.0, 1.0, -0.1):
        with pytest.raises(ConfigError, match="beta"):
            jsd_kd(of([1.0], [1.0]), beta=beta)


def test_standardised_kd_ignores_scale_and_offset_of_both_and_keeps_a_gradient():
    scores, teacher = [0.2, 1.0, -3.0, 0.7], [0.9, 0.1, 0.3, 0.6]
    value = standardised_kd(of(scores, teacher)).item()
    assert value > 0.01
    moved = of([5 * s - 2 for s in scores], [0.3 * t + 9 for t in teacher])
    assert standardised_kd(moved).item() == pytest.approx(value, rel=1e-3)
    assert standardised_kd(of([2 * t for t in teacher], teacher)).item() == pytest.approx(0, abs=1e-5)
    score = torch.tensor(scores, requires_grad=True)
    answers = torch.stack([torch.zeros(4), score], dim=1)
    standardised_kd(MatchBatch(answers=answers, teacher_pair=torch.tensor(teacher))).backward()
    assert score.grad.abs().max() > 1e-3, "two classes over the batch are not degenerate"


def test_sample_fusion_is_the_teacher_or_the_label_at_its_ends():
    scores = [0.4, -1.2, 2.0]
    agrees = of(scores, [30.0, -30.0, 30.0], [1, 0, 1])
    assert sample_fusion(agrees).item() == pytest.approx(bernoulli_kd(agrees).item(), rel=1e-4)
    contradicts = of(scores, [-30.0, 30.0, -30.0], [1, 0, 1])
    assert sample_fusion(contradicts).item() == pytest.approx(answer_cross_entropy(contradicts).item(), rel=1e-4)
    unlabelled = of(scores, [1.0, -1.0, 0.5], [-1, -1, -1])
    assert sample_fusion(unlabelled).item() == pytest.approx(bernoulli_kd(unlabelled).item(), rel=1e-5)
    unsure = of([0.0], [0.0])
    assert sample_fusion(unsure).item() == pytest.approx(math.log(2) / 2, rel=1e-5)


def test_symmetric_cross_entropy_with_the_first_term_alone_is_the_cross_entropy_and_the_second_is_bounded():
    batch = of([0.4, -1.2, 2.0], [0.0] * 3, [1, 0, -1])
    alone = symmetric_cross_entropy(batch, forward=1.0, reverse=0.0).item()
    assert alone == pytest.approx(answer_cross_entropy(batch).item(), rel=1e-5)
    assert symmetric_cross_entropy(of([-90.0], [0.0]), forward=0.0).item() == pytest.approx(4.0)
    with pytest.raises(ConfigError, match="reverse=-1"):
        symmetric_cross_entropy(batch, reverse=-1)


def test_hard_kd_is_the_cross_entropy_of_confident_decisions(make_batch):
    batch = make_batch()
    score, target = batch.score.tolist(), [sigmoid(2 * score + 0.3) for score in batch.teacher.tolist()]
    terms = [
        -math.log(sigmoid(s if q > 0.5 else -s)) for s, q in zip(score, target, strict=True) if max(q, 1 - q) >= 0.7
    ]
    assert 0 < len(terms) < 8
    assert hard_kd(batch, confidence=0.7, **LINE).item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    labelled = of([0.4, -1.2], [3.0, -2.0], [1, 0])
    assert hard_kd(labelled).item() == pytest.approx(answer_cross_entropy(labelled).item(), rel=1e-5)
    unsure = of([0.4, -1.2], [0.3, -0.2])
    assert hard_kd(unsure, confidence=0.9).item() == 0
    with pytest.raises(ConfigError, match=r"confidence=0\.4"):
        hard_kd(unsure, confidence=0.4)
