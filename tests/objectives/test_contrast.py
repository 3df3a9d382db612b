"""Contrastive objectives against plain loops, closed forms and what they must ignore."""

import math

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.contrast import (
    adaptive_margin,
    attract_repel,
    gaussian_decay_info_nce,
    passage_info_nce,
    set_info_nce,
    simcse,
)
from flipkd.objectives.labels import info_nce

LABEL = torch.tensor([1, 0, -1, 1, 0, 1, 0, 1])


def dot(a, b):
    return sum(map(float.__mul__, a, b))


def mean(terms):
    return sum(terms) / len(terms) if terms else 0.0


def plain(batch):
    """Vectors, labels and the valid other cells (i, j) of each row."""
    left, right, label = batch.left.tolist(), batch.right.tolist(), batch.label.tolist()
    valid = batch.valid_mask.tolist()
    others = [[j for j in range(len(right)) if j != i and valid[i][j]] for i in range(len(left))]
    return left, right, label, others


@pytest.mark.parametrize("columns", [8, 11])
def test_passage_info_nce_equals_plain_loops(make_batch, columns):
    batch = make_batch(columns=columns, label=LABEL)
    left, right, label, others = plain(batch)
    terms = []
    for i in (i for i in range(8) if label[i] == 1 and others[i]):
        own = dot(left[i], right[i])
        terms.append(math.log(1 + sum(math.exp((dot(right[i], right[j]) - own) / 0.1) for j in others[i])))
    expected = 0.7 * info_nce(batch, temperature=0.1).item() + 0.3 * mean(terms)
    assert passage_info_nce(batch, alpha=0.3, temperature=0.1).item() == pytest.approx(expected, rel=1e-5)


def test_passage_info_nce_without_alpha_is_info_nce_bit_for_bit(make_batch):
    batch = make_batch(label=LABEL)
    assert torch.equal(passage_info_nce(batch, alpha=0.0), info_nce(batch))
    with pytest.raises(ConfigError, match=r"alpha=1\.5"):
        passage_info_nce(batch, alpha=1.5)


@pytest.mark.parametrize("columns", [8, 11])
def test_adaptive_margin_equals_plain_loops(make_batch, columns):
    batch = make_batch(columns=columns, label=LABEL)
    left, right, label, others = plain(batch)
    terms = [
        (dot(left[i], right[i]) - dot(left[i], right[j]) - (1 + dot(right[i], right[j])) / 2) ** 2
        for i in range(8)
        if label[i] == 1
        for j in others[i]
    ]
    assert adaptive_margin(batch).item() == pytest.approx(mean(terms), rel=1e-5)


def test_adaptive_margin_in_closed_form():
    def of(second):
        left = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        return MatchBatch(left=left, right=torch.tensor([[1.0, 0.0], second]), label=torch.tensor([1, 0]))

    assert adaptive_margin(of([1.0, 0.0])).item() == pytest.approx(1.0), "equal texts: a margin of 1 and a gap of 0"
    assert adaptive_margin(of([0.0, 1.0])).item() == pytest.approx(0.25)


def test_adaptive_margin_can_detach_its_target(make_batch):
    gradients = []
    for detach_target in (False, True):
        batch = make_batch(label=LABEL)
        adaptive_margin(batch, detach_target=detach_target).backward()
        gradients.append(batch.right.grad)
    assert not torch.allclose(*gradients)


@pytest.mark.parametrize("columns", [8, 11])
def test_gaussian_decay_info_nce_equals_plain_loops(make_batch, columns):
    batch = make_batch(columns=columns, label=LABEL)
    left, right, label, others = plain(batch)
    teacher, terms = batch.teacher_grid.tolist(), []
    for i in (i for i in range(8) if label[i] == 1 and others[i]):
        total = math.exp(own := dot(left[i], right[i]) / 0.1)
        for j in others[i]:
            cosine = dot(left[i], right[j])
            gap = cosine - teacher[i][j]
            total += math.exp(cosine / 0.1 * (1 - (math.exp(-(gap**2) / (2 * 0.3**2)) if gap <= 0 else 0)))
        terms.append(math.log(total) - own)
    loss = gaussian_decay_info_nce(batch, sigma=0.3, temperature=0.1)
    assert loss.item() == pytest.approx(mean(terms), rel=1e-5)


def test_gaussian_decay_info_nce_switches_off_what_the_student_finds_like_the_teacher():
    left = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    label = torch.tensor([1, -1])

    def loss(reference, **settings):
        grid = torch.tensor([[1.0, reference], [0.0, 1.0]])
        return gaussian_decay_info_nce(
            MatchBatch(left=left, right=right, label=label, teacher_grid=grid), temperature=0.5, **settings
        ).item()

    one = math.log(1 + math.exp(-1 / 0.5))  # the logit of the negative is 0
    assert loss(0.6) == pytest.approx(one, rel=1e-4)
    plain_value = math.log(1 + math.exp((0.6 - 1) / 0.5))
    assert loss(0.5) == pytest.approx(plain_value, rel=1e-4), (
        "the student finds it closer than the teacher: pushed fully"
    )
    assert loss(0.9) == pytest.approx(plain_value, rel=1e-4), "far from the reference: pushed fully"
    assert loss(0.61, sigma=1e-6) == pytest.approx(plain_value, rel=1e-4)
    with pytest.raises(ConfigError, match="sigma=0"):
        loss(0.6, sigma=0)


def test_gaussian_decay_info_nce_has_a_constant_decay():
    student = torch.tensor([[0.9, 0.2], [0.0, 1.0]], requires_grad=True)
    grid, label = torch.tensor([[1.0, 0.4], [0.0, 1.0]]), torch.tensor([1, -1])
    batch = MatchBatch(left=student, right=torch.eye(2), label=label, teacher_grid=grid)
    gaussian_decay_info_nce(batch, sigma=0.3, temperature=0.5).backward()
    kept = 1 - math.exp(-(0.2**2) / (2 * 0.3**2))
    share = 1 / (1 + math.exp((0.9 - 0.2 * kept) / 0.5))
    assert student.grad[0, 1].item() == pytest.approx(share * kept / 0.5, rel=1e-4)


def test_attract_repel_equals_plain_loops(make_batch):
    batch = make_batch(label=LABEL)
    left, right, label, _ = plain(batch)
    valid, total = batch.valid_mask.tolist(), 0.0
    for transposed in (False, True):
        attract, repel = [], []
        for i in range(8):
            cells = [(j, i) if transposed else (i, j) for j in range(8) if j != i]
            others = [dot(left[a], right[b]) for a, b in cells if valid[a][b]]
            own = dot(left[i], right[i])
            if others and label[i] == 1:
                attract.append(max(0.0, 0.6 + max(others) - own))
            if others and label[i] == 0:
                repel.append(max(0.0, 0.1 + own - min(others)))
        total += mean(attract) + mean(repel)
    assert attract_repel(batch, margin_repel=0.1).item() == pytest.approx(total / 2, rel=1e-5)


def test_attract_repel_is_0_without_a_gradient_where_the_margins_are_met(make_batch):
    left = torch.eye(3)[:, :3]
    right = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
    batch = make_batch(3, left=left.clone(), right=right, label=torch.tensor([1, 1, 0]), left_id=None, right_id=None)
    loss = attract_repel(batch)
    loss.backward()
    assert loss.item() == 0
    assert not batch.left.grad.any()


def test_simcse_has_two_views_and_without_dropout_a_closed_form(make_batch):
    ids = [0, 1, 2, 3, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 5, 13]  # texts 0 and 5 twice
    batch = make_batch(label=LABEL, left_id=torch.tensor(ids[:8]), right_id=torch.tensor(ids[8:]))
    torch.manual_seed(0)
    values = {simcse(batch).item() for _ in range(3)}
    assert len(values) == 3
    texts, terms = batch.left.tolist() + batch.right.tolist()[:8], []
    matches = {frozenset((ids[i], ids[8 + i])) for i in range(8) if LABEL[i] != 0}
    for u in range(16):
        others = [v for v in range(16) if ids[v] != ids[u] and frozenset((ids[u], ids[v])) not in matches]
        logits = [1.0, *(dot(texts[u], texts[v]) for v in others)]
        if others:
            terms.append(math.log(sum(map(math.exp, logits))) - logits[0])
    assert simcse(batch, dropout=0.0, temperature=1.0).item() == pytest.approx(mean(terms), rel=1e-5)
    with pytest.raises(ConfigError, match="dropout=1"):
        simcse(batch, dropout=1)


def test_set_info_nce_equals_plain_loops(make_batch):
    lists = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    ids = {"left_id": lists.clone(), "right_id": torch.tensor([10, 11, 10, 13, 14, 15, 16, 13])}
    batch = make_batch(label=LABEL, list_id=lists, **ids)  # text 13 is in two sets, 10 is also unlabelled
    texts = batch.left.tolist() + batch.right.tolist()
    numbers, label = ids["left_id"].tolist() + ids["right_id"].tolist(), LABEL.tolist()
    members = {k: {numbers[i] for i in range(8) if lists[i] == k} for k in range(3)}
    for i in range(8):
        if label[i] == 1:
            members[int(lists[i])].add(numbers[8 + i])
    known = [*range(8), *(8 + i for i in range(8) if label[i] >= 0)]

    def set_of(u):
        return {numbers[u]}.union(*(held for held in members.values() if numbers[u] in held))

    terms = []
    for u in known:
        negatives = [w for w in known if numbers[w] not in set_of(u)]
        for v in (v for v in known if numbers[v] in set_of(u) and numbers[v] != numbers[u] and negatives):
            own = dot(texts[u], texts[v])
            terms.append(math.log(1 + sum(math.exp((dot(texts[u], texts[w]) - own) / 0.1) for w in negatives)))
    assert len(terms) > 10
    assert set_info_nce(batch, temperature=0.1).item() == pytest.approx(mean(terms), rel=1e-5)


@pytest.mark.parametrize("label", [[1, 0, 1, 1, 0, 1, 0, 1], [1, -1, 0, 1, 0, 1, -1, 1]])
def test_set_info_nce_has_the_same_sets_where_pairs_are_swapped(make_batch, label):
    lists, random = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]), torch.Generator().manual_seed(0)
    sides = lists.clone(), torch.tensor([10, 11, 12, 13, 14, 15, 16, 13])
    vectors = torch.nn.functional.normalize(torch.randn(17, 5, generator=random), dim=1)

    def loss(swapped):
        is_swapped = torch.tensor([row in swapped for row in range(8)])
        left, right = (torch.where(is_swapped, other, own) for own, other in (sides, sides[::-1]))
        batch = make_batch(
            label=torch.tensor(label),
            list_id=lists,
            left_id=left,
            right_id=right,
            left=vectors[left],
            right=vectors[right],
        )
        return set_info_nce(batch, temperature=0.1).item()

    expected = loss([])
    assert all(loss(swapped) == pytest.approx(expected, rel=1e-5) for swapped in ([1, 4], [6], [0, 3, 7], range(8)))


def test_set_info_nce_without_a_positive_or_without_another_set_is_0(make_batch):
    lists = torch.zeros(8, dtype=torch.long)
    ids = {"left_id": lists.clone(), "right_id": torch.arange(1, 9)}
    assert set_info_nce(make_batch(label=torch.ones(8).long(), list_id=lists, **ids)).item() == 0
    assert set_info_nce(make_batch(label=torch.zeros(8).long(), list_id=lists, **ids)).item() == 0
