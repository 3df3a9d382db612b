"""Objectives with a head on the two vectors of a pair against plain loops and closed forms."""

import math

import pytest
import torch
from build_objective import build_objective

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.pair_heads import LelpSubclass, NormDirection, PairRelation

LABEL = torch.tensor([1, 0, -1, 1, 0, 1, 0, 1])
LINE = {"teacher_slope": 2.0, "teacher_intercept": 0.3}


def dot(a, b):
    return sum(map(float.__mul__, a, b))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def bernoulli_kl(q, p):
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def features(batch):
    pairs = zip(batch.left.tolist(), batch.right.tolist(), strict=False)
    return [
        [*u, *v, *(a - b for a, b in zip(u, v, strict=True)), *(a * b for a, b in zip(u, v, strict=True))]
        for u, v in pairs
    ]


def products(left, right):
    return [[a * b for a, b in zip(u, v, strict=True)] for u, v in zip(left.tolist(), right.tolist(), strict=False)]


@pytest.mark.parametrize("columns", [8, 11])
def test_pair_head_kd_equals_plain_loops(make_batch, columns):
    batch = make_batch(columns=columns)
    objective = build_objective("pair_head_kd", batch, **LINE)
    weight, bias = objective.head.weight[0].tolist(), objective.head.bias.item()
    target = [sigmoid(2 * score + 0.3) for score in batch.teacher.tolist()]
    terms = [bernoulli_kl(q, sigmoid(dot(weight, row) + bias)) for q, row in zip(target, features(batch), strict=True)]
    assert objective(batch).item() == pytest.approx(sum(terms) / 8, rel=1e-4)


def test_pair_head_kd_is_0_where_the_head_gives_the_teachers_log_odds(make_batch):
    batch = make_batch(teacher_grid=None, teacher_left=None, teacher_right=None, teacher_pair=torch.full((8,), 0.7))
    objective = build_objective("pair_head_kd", batch)
    torch.nn.init.zeros_(objective.head.weight)
    torch.nn.init.constant_(objective.head.bias, 0.7)
    assert objective(batch).item() == pytest.approx(0, abs=1e-6)


def test_pair_head_kd_mixup_mixes_a_share_of_the_pairs(make_batch):
    batch = make_batch()
    plain = build_objective("pair_head_kd", batch)(batch).item()
    mixed = build_objective("pair_head_kd", batch, mixup=1.0)
    torch.manual_seed(0)
    values = [mixed(batch).item() for _ in range(4)]
    assert len(set(values)) == 4
    assert all(value < plain for value in values), "averages of targets are less extreme"
    torch.manual_seed(0)
    ratio = (torch.rand(8), torch.rand(8))[1]
    x = torch.tensor(features(batch))
    x = ratio[:, None] * x + (1 - ratio)[:, None] * x.roll(1, dims=0)
    q = batch.teacher.sigmoid()
    q = ratio * q + (1 - ratio) * q.roll(1)
    p = mixed.head(x).squeeze(1).sigmoid()
    expected = sum(bernoulli_kl(a, b) for a, b in zip(q.tolist(), p.tolist(), strict=True)) / 8
    assert values[0] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ConfigError, match="mixup=2"):
        build_objective("pair_head_kd", batch, mixup=2)


def test_pair_relation_equals_plain_loops(make_batch):
    batch = make_batch(label=LABEL)
    objective = build_objective("pair_relation", batch, width=6, temperature=0.2)
    weight, label = objective.relation.weight.tolist(), LABEL.tolist()
    relations = [[dot(row, x) for row in weight] for x in features(batch)]
    relations = [[x / math.hypot(*r) for x in r] for r in relations]
    known, terms = [i for i in range(8) if label[i] >= 0], []
    for i in known:
        logits = {k: dot(relations[i], relations[k]) / 0.2 for k in known if k != i}
        total = math.log(sum(map(math.exp, logits.values())))
        terms += [total - logits[j] for j in logits if label[j] == label[i]]
    assert objective(batch).item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_pair_relation_depends_on_the_order_of_the_pair(make_batch):
    batch = make_batch(label=LABEL)
    objective = build_objective("pair_relation", batch)
    turned = MatchBatch(left=batch.right, right=batch.left, label=LABEL)
    assert objective(turned).item() != pytest.approx(objective(batch).item(), rel=1e-3)


def test_pair_relation_without_both_classes_is_0(make_batch):
    batch = make_batch(label=LABEL.clamp(max=0))
    loss = build_objective("pair_relation", batch)(batch)
    loss.backward()
    assert loss.item() == 0
    assert not batch.left.grad.any()
    with pytest.raises(ConfigError, match="width=0"):
        PairRelation(student_width=3, width=0)


def test_norm_direction_equals_plain_loops(make_batch):
    batch, training = make_batch(label=LABEL, columns=11), make_batch(20, seed=5)
    objective = NormDirection(student_width=5, training=training)
    rows, label = products(training.teacher_left, training.teacher_right), training.label.tolist()
    means = []
    for kind in (0, 1):
        own = [row for row, y in zip(rows, label, strict=True) if y == kind]
        mean = [sum(column) / len(own) for column in zip(*own, strict=True)]
        means.append([x / math.hypot(*mean) for x in mean])
    weight, terms = objective.projection.weight.tolist(), []
    teacher = products(batch.teacher_left, batch.teacher_right)
    for x, t, y in zip(products(batch.left, batch.right), teacher, LABEL.tolist(), strict=True):
        if y >= 0:
            mapped = [dot(row, x) for row in weight]
            terms.append(1 - dot(mapped, means[y]) / max(math.hypot(*mapped), math.hypot(*t)))
    assert objective(batch).item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 0.0), (3.0, 0.0), (0.5, 0.5), (-1.0, 2.0)])
def test_norm_direction_in_closed_form(factor, expected):
    one = torch.tensor([[1.0, 0.0]])
    batch = MatchBatch(left=one, right=factor * one, teacher_left=one, teacher_right=one, label=torch.tensor([1]))
    objective = NormDirection(student_width=2, training=batch)
    torch.nn.init.eye_(objective.projection.weight)
    assert objective(batch).item() == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def training():
    random = torch.Generator().manual_seed(4)
    sides = [torch.nn.functional.normalize(torch.randn(60, 3, generator=random), dim=1) for _ in range(2)]
    return MatchBatch(teacher_left=sides[0], teacher_right=sides[1], label=torch.arange(60) % 2)


def test_lelp_subclass_equals_plain_loops(make_batch, training):
    batch = make_batch(label=LABEL)
    objective = LelpSubclass(student_width=5, training=training, subclasses=2, beta=0.5, **LINE)
    head, bias, terms = objective.head.weight.tolist(), objective.head.bias.tolist(), []
    teacher, centres, directions = (
        products(batch.teacher_left, batch.teacher_right),
        objective.centres.tolist(),
        objective.directions.tolist(),
    )
    pairs = zip(batch.left.tolist(), batch.right.tolist(), teacher, batch.teacher.tolist(), strict=False)
    for u, v, h, score in pairs:
        target = []
        for kind, share in ((0, sigmoid(-2 * score - 0.3)), (1, sigmoid(2 * score + 0.3))):
            centred = [x - c for x, c in zip(h, centres[kind], strict=True)]
            weights = [math.exp(dot(direction, centred) / 0.5) for direction in directions[kind]]
            target += [share * w / sum(weights) for w in weights]
        x = [*(a * b for a, b in zip(u, v, strict=True)), *(abs(a - b) for a, b in zip(u, v, strict=True))]
        logits = [math.exp(dot(row, x) + b) for row, b in zip(head, bias, strict=True)]
        terms.append(sum(p * math.log(p / (q / sum(logits))) for p, q in zip(target, logits, strict=True)))
    assert objective(batch).item() == pytest.approx(sum(terms) / 8, rel=1e-4)


def test_lelp_subclass_sums_to_the_teachers_probability_and_with_one_of_each_class_is_plain_distillation(
    make_batch, training
):
    batch = make_batch()
    objective = LelpSubclass(student_width=5, training=training, subclasses=4, **LINE)
    probability = (2 * batch.teacher + 0.3).sigmoid()
    torch.testing.assert_close(objective.targets(batch).sum(2), torch.stack([1 - probability, probability], dim=1))
    one = LelpSubclass(student_width=5, training=training, subclasses=1, **LINE)
    torch.nn.init.zeros_(one.head.weight)
    logits = (one.head.bias[1] - one.head.bias[0]).sigmoid().item()
    expected = sum(bernoulli_kl(q, logits) for q in probability.tolist()) / 8
    assert one(batch).item() == pytest.approx(expected, rel=1e-4)


def test_directions_are_standardised_within_the_class_and_blind_to_the_score(training):
    torch.manual_seed(0)
    objective = LelpSubclass(student_width=5, training=training, subclasses=2)
    rows = training.teacher_left * training.teacher_right
    for kind in (0, 1):
        own = rows[training.label == kind] - objective.centres[kind]
        torch.testing.assert_close((own @ objective.directions[kind].T).std(0, correction=0), torch.ones(2))
        torch.testing.assert_close(objective.directions[kind].sum(1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.manual_seed(0)
    again = LelpSubclass(student_width=5, training=training, subclasses=2)
    assert torch.equal(again.directions, objective.directions)
    with pytest.raises(ConfigError, match="subclasses=0"):
        LelpSubclass(student_width=5, training=training, subclasses=0)


def test_lelp_subclass_has_equal_subclasses_in_a_class_of_one_pair(make_batch):
    batch = make_batch(8)
    training = MatchBatch(
        teacher_left=torch.eye(3), teacher_right=torch.ones(3, 3), label=torch.tensor([1, 0, 0])
    )  # one match; no direction of it varies
    objective = LelpSubclass(student_width=5, training=training, subclasses=4)
    targets = objective.targets(batch)[:, 1]
    torch.testing.assert_close(targets, targets.mean(dim=1, keepdim=True).expand(8, 4))
    sums = objective.directions.sum(dim=2)
    torch.testing.assert_close(sums, torch.zeros(2, 4), atol=1e-4, rtol=0)  # also where there are more than directions


def test_lelp_subclass_of_two_classes_keeps_a_gradient_within_a_class(make_batch, training):
    batch = make_batch(teacher_pair=torch.full((8,), 50.0))  # the teacher is sure of all
    objective = LelpSubclass(student_width=5, training=training, subclasses=2)
    objective(batch).backward()
    assert batch.left.grad.norm() > 1e-3
