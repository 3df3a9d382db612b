"""The relational objectives against plain loops, closed forms and their invariances."""

import itertools
import math

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.relations import (
    mixed_gram,
    pkt,
    prototype_kd,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)

OBJECTIVES = [similarity_preserving, rkd_distance, rkd_angle, pkt]


def stacked(batch):
    """Return the 2N embeddings of each model as nested lists; columns from N on are left out."""
    count = len(batch.left)
    student = batch.left.tolist() + batch.right[:count].tolist()
    return student, batch.teacher_left.tolist() + batch.teacher_right[:count].tolist()


def smooth_l1(x, y):
    gap = abs(x - y)
    return gap * gap / 2 if gap < 1 else gap - 0.5


def loop_similarity(student, teacher):
    grams = []
    for vectors in (student, teacher):
        gram = [[sum(map(float.__mul__, a, b)) for b in vectors] for a in vectors]
        grams.append([[cell / math.hypot(*row) for cell in row] for row in gram])
    return (
        sum((s - t) ** 2 for rows in zip(*grams, strict=True) for s, t in zip(*rows, strict=True)) / len(student) ** 2
    )


def loop_distance(student, teacher):
    relative = []
    for vectors in (student, teacher):
        distances = [math.dist(a, b) for i, a in enumerate(vectors) for j, b in enumerate(vectors) if i != j]
        relative.append([d / (sum(distances) / len(distances)) for d in distances])
    return sum(map(smooth_l1, *relative)) / len(relative[0])


def loop_angle(student, teacher):
    def cosine(vectors, i, j, k):
        one = [x - y for x, y in zip(vectors[i], vectors[j], strict=True)]
        two = [x - y for x, y in zip(vectors[k], vectors[j], strict=True)]
        return sum(map(float.__mul__, one, two)) / (math.hypot(*one) * math.hypot(*two))

    triples = list(itertools.permutations(range(len(student)), 3))
    return sum(smooth_l1(cosine(student, *t), cosine(teacher, *t)) for t in triples) / len(triples)


def cosine(a, b):
    return sum(map(float.__mul__, a, b)) / (math.hypot(*a) * math.hypot(*b))


def loop_pkt(student, teacher):
    total = 0.0
    for i in range(len(student)):
        others = [j for j in range(len(student)) if j != i]
        shares = []
        for vectors in (teacher, student):
            affinity = [(1 + cosine(vectors[i], vectors[j])) / 2 for j in others]
            shares.append([value / sum(affinity) for value in affinity])
        total += sum(p * math.log(p / q) for p, q in zip(*shares, strict=True))
    return total / len(student)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [4, 7])
@pytest.mark.parametrize(
    ("objective", "loop"),
    [
        (similarity_preserving, loop_similarity),
        (rkd_distance, loop_distance),
        (rkd_angle, loop_angle),
        (pkt, loop_pkt),
    ],
)
def test_relations_equal_plain_loops(make_batch, objective, loop, seed, columns):
    batch = make_batch(4, columns=columns, seed=seed)
    assert objective(batch).item() == pytest.approx(loop(*stacked(batch)), rel=1e-4)


def test_rkd_distance_and_rkd_angle_differ_from_the_authors_code_by_a_known_factor(make_batch):
    """The authors average over all n^2 entries and all n^3 triples; the docstrings give the factors."""
    batch, n = make_batch(4), 8
    student, teacher = (torch.tensor(vectors) for vectors in stacked(batch))
    distances = [torch.cdist(vectors, vectors) for vectors in (student, teacher)]
    relative = [d / d[d > 1e-3].mean() for d in distances]
    theirs = torch.nn.functional.smooth_l1_loss(*relative).item()
    assert theirs == pytest.approx(rkd_distance(batch).item() * (n - 1) / n, rel=1e-3)
    ways = [torch.nn.functional.normalize(v[None] - v[:, None], dim=2) for v in (student, teacher)]
    theirs = torch.nn.functional.smooth_l1_loss(*(way @ way.transpose(1, 2) for way in ways)).item()
    assert theirs == pytest.approx(rkd_angle(batch).item() * (n - 1) * (n - 2) / n**2, rel=1e-3)


def moved(batch, *, scale=1.0, shift=0.0):
    """A batch whose teacher is a rotated, scaled and shifted copy of its student."""
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(9)))[0]
    sides = {side: scale * getattr(batch, side) @ rotation + shift for side in ("left", "right")}
    return MatchBatch(left=batch.left, right=batch.right, teacher_left=sides["left"], teacher_right=sides["right"])


def test_relations_are_0_for_their_invariances(make_batch):
    batch = make_batch(5)
    for objective in OBJECTIVES:
        assert objective(moved(batch, scale=3.0)).item() == pytest.approx(0, abs=1e-5)
    for objective in (rkd_distance, rkd_angle):
        assert objective(moved(batch, shift=0.7)).item() == pytest.approx(0, abs=1e-5)
    assert similarity_preserving(moved(batch, shift=0.7)).item() > 1e-3
    assert pkt(moved(batch, shift=0.7)).item() > 1e-3


def test_relations_in_closed_form():
    right_angles = {"left": torch.tensor([[1.0, 0.0]]), "right": torch.tensor([[0.0, 1.0]])}
    same = {"teacher_left": torch.tensor([[1.0]]), "teacher_right": torch.tensor([[1.0]])}
    one_pair = MatchBatch(**right_angles, **same)  # G_s is the unit matrix, every entry of G_t is 1 / sqrt(2)
    half = math.sqrt(0.5)
    assert similarity_preserving(one_pair).item() == pytest.approx(((1 - half) ** 2 + half**2) / 2)
    assert rkd_distance(one_pair).item() == 0  # one distance is its own mean
    assert rkd_angle(one_pair).item() == 0  # no three texts
    assert pkt(one_pair).item() == 0  # one other text has all of the probability


def test_drawn_triples_are_a_subset_of_all_triples(make_batch):
    batch = make_batch(6)
    whole = rkd_angle(batch).item()
    torch.manual_seed(0)
    draw_with_replacement = [rkd_angle(batch, max_comparisons=200).item() for _ in range(300)]
    assert len(set(draw_with_replacement)) > 250
    assert sum(draw_with_replacement) / len(draw_with_replacement) == pytest.approx(whole, rel=0.02)
    with pytest.raises(ConfigError, match="max_comparisons=0"):
        rkd_angle(batch, max_comparisons=0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_relations_of_equal_or_collapsed_embeddings_have_finite_gradients(objective):
    left = torch.tensor([[1.0, 0.0]] * 3, requires_grad=True)
    right = torch.tensor([[1.0, 0.0]] * 3, requires_grad=True)
    teacher = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    loss = objective(MatchBatch(left=left, right=right, teacher_left=teacher, teacher_right=teacher))
    loss.backward()
    assert loss.isfinite()
    assert left.grad.isfinite().all()
    assert right.grad.isfinite().all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_relations_refuse_pair_scores_alone(make_batch, objective):
    with pytest.raises(ConfigError, match=r"needs teacher_left.*bi-encoder"):
        objective(make_batch(teacher_left=None, teacher_right=None))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_relations_of_a_frequent_text_have_a_bounded_gradient(objective):
    random = torch.Generator().manual_seed(0)

    def vectors(width):
        rows = torch.nn.functional.normalize(torch.randn(24, width, generator=random), dim=1)
        rows[12:] = rows[12]  # the same right-hand text in every pair
        return rows

    def gradient(noise):
        rows = student.clone()
        rows[12:] += noise * torch.randn(12, 64, generator=torch.Generator().manual_seed(1))  # as padding leaves it
        rows.requires_grad_()
        batch = MatchBatch(left=rows[:12], right=rows[12:], teacher_left=teacher[:12], teacher_right=teacher[12:])
        objective(batch).backward()
        return rows.grad.norm().item()

    student, teacher = vectors(64), vectors(32)
    assert gradient(1e-6) == pytest.approx(gradient(0.0), rel=0.01)


@pytest.mark.parametrize("label_weight", [0.0, 0.3, 1.0])
def test_mixed_gram_equals_plain_loops(make_batch, label_weight):
    label = torch.tensor([1, 0, -1, 1])
    repeated = {"left_id": torch.tensor([0, 1, 0, 2]), "right_id": torch.tensor([3, 4, 5, 6, 7, 8])}
    batch = make_batch(4, columns=6, label=label, **repeated)
    student, teacher = stacked(batch)
    ids, terms = batch.left_id.tolist() + batch.right_id[:4].tolist(), []
    known = {frozenset((ids[i], ids[4 + i])): int(label[i]) for i in range(4) if label[i] >= 0}
    for i, j in itertools.permutations(range(8), 2):
        target, pair = cosine(teacher[i], teacher[j]), frozenset((ids[i], ids[j]))
        if pair in known:
            target = (1 - label_weight) * target + label_weight * known[pair]
        terms.append((cosine(student[i], student[j]) - target) ** 2)
    assert mixed_gram(batch, label_weight=label_weight).item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    with pytest.raises(ConfigError, match="label_weight=2"):
        mixed_gram(batch, label_weight=2)


def test_mixed_gram_in_closed_form():
    sides = {side: torch.tensor([[1.0, 0.0]]) for side in ("left", "right", "teacher_left", "teacher_right")}
    assert mixed_gram(MatchBatch(**sides, label=torch.tensor([0])), label_weight=0.5).item() == pytest.approx(0.25)
    assert mixed_gram(MatchBatch(**sides, label=torch.tensor([1])), label_weight=0.5).item() == 0


def test_prototype_kd_equals_plain_loops(make_batch):
    label = torch.tensor([1, 0, -1, 1, 0])
    batch = make_batch(5, columns=7, label=label)
    logs = []
    for left, right in ((batch.left, batch.right), (batch.teacher_left, batch.teacher_right)):
        products = [
            [x * y for x, y in zip(a, b, strict=True)] for a, b in zip(left.tolist(), right.tolist(), strict=False)
        ]
        means = [
            [sum(column) / 2 for column in zip(*(products[i] for i in range(5) if label[i] == kind), strict=True)]
            for kind in (0, 1)
        ]
        weights = [[math.exp(cosine(row, mean) / 0.2) for mean in means] for row in products]
        logs.append([[w / sum(row) for w in row] for row in weights])
    terms = [sum(t * math.log(t / s) for s, t in zip(*rows, strict=True)) for rows in zip(*logs, strict=True)]
    assert prototype_kd(batch, temperature=0.2).item() == pytest.approx(sum(terms) / 5, rel=1e-4)


def test_prototype_kd_has_constant_prototypes():
    left = torch.tensor([[1.0, 0.0], [0.6, 0.8]], requires_grad=True)
    sides = {"right": torch.ones(2, 2), "teacher_left": torch.eye(2), "teacher_right": torch.eye(2)}
    prototype_kd(MatchBatch(left=left, **sides, label=torch.tensor([1, 0])), temperature=1.0).backward()
    moved = left.detach().clone().requires_grad_()  # a product is the left vector, and each class has one pair
    student = (torch.nn.functional.normalize(moved, dim=1) @ left.detach().T).log_softmax(1)
    (torch.eye(2).softmax(1) * -student).sum(1).mean().backward()
    torch.testing.assert_close(left.grad, moved.grad)


def test_prototype_kd_is_0_at_the_teachers_vectors_and_without_both_classes(make_batch):
    label = torch.tensor([1, 0, -1, 1, 0])
    same = make_batch(5, label=label)
    copied = MatchBatch(
        left=same.left, right=same.right, teacher_left=same.left, teacher_right=same.right, label=label
    )
    assert prototype_kd(copied).item() == pytest.approx(0, abs=1e-6)
    one_class = make_batch(5, label=label.clamp(max=0))
    loss = prototype_kd(one_class)
    loss.backward()
    assert loss.item() == 0
    assert not one_class.left.grad.any()
    two = make_batch(5, label=label)
    prototype_kd(two).backward()
    assert two.left.grad.any(), "two classes are not degenerate"
