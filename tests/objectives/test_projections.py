"""Objectives with a map to the teacher's width against plain loops, closed forms and bounds."""

import math

import pytest
import torch
from build_objective import build_objective

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.projections import SINKHORN_STEPS, SINKHORN_TEMPERATURE, transport_plan


def dot(a, b):
    return sum(map(float.__mul__, a, b))


def unit(vector):
    return [x / math.hypot(*vector) for x in vector]


def mapped(objective, batch):
    """Unit vectors of all texts, the student's after the map, the teacher's; and the ids of the texts."""
    count = len(batch.left)
    weight = objective.projection.weight.tolist()
    student = batch.left.tolist() + batch.right.tolist()[:count]
    teacher = batch.teacher_left.tolist() + batch.teacher_right.tolist()[:count]
    ids = batch.left_id.tolist() + batch.right_id.tolist()[:count]
    return [[dot(row, vector) for row in weight] for vector in student], teacher, ids


def with_identity(objective):
    torch.nn.init.eye_(objective.projection.weight)
    return objective


def same_vectors(make_batch, **replaced):
    batch = make_batch(5, **replaced)
    tensors = {name: getattr(batch, name) for name in batch.present}
    teacher = {"teacher_left": batch.left.detach(), "teacher_right": batch.right.detach()}
    return MatchBatch(**tensors | teacher)


def test_embed_align_equals_plain_loops(make_batch):
    batch = make_batch(5, columns=7)
    objective = build_objective("embed_align", batch)
    student, teacher, _ = mapped(objective, batch)
    terms = [math.dist(unit(s), t) ** 2 for s, t in zip(student, teacher, strict=True)]
    loss = objective(batch).item()
    assert loss == pytest.approx(sum(terms) / 10, rel=1e-5)
    cosines = [dot(unit(s), t) for s, t in zip(student, teacher, strict=True)]
    assert loss == pytest.approx(2 - 2 * sum(cosines) / 10, rel=1e-5)


def test_embed_align_is_0_at_the_teachers_vectors_and_learns_its_map(make_batch):
    batch = same_vectors(make_batch)
    assert with_identity(build_objective("embed_align", batch))(batch).item() == pytest.approx(0, abs=1e-6)
    objective = build_objective("embed_align", batch)
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.05)
    first = objective(batch).item()
    for _ in range(200):
        optimiser.zero_grad()
        objective(batch).backward()
        optimiser.step()
    assert objective(batch).item() < first / 100


@pytest.mark.parametrize(("columns", "chunks"), [(5, 1), (8, 1), (8, 3), (8, 2)])
def test_ckd_info_nce_equals_plain_loops(make_batch, columns, chunks):
    batch = make_batch(5, columns=columns)
    objective = build_objective("ckd_info_nce", batch, chunks=chunks, initial_scale=3.0)
    student, teacher, ids = mapped(objective, batch)
    candidates, numbers = teacher + batch.teacher_right.tolist()[5:], ids + batch.right_id.tolist()[5:]
    width = math.ceil(3 / chunks)
    pieces = [slice(first, first + width) for first in range(0, 3, width)]
    terms = []
    for piece in pieces:
        for u in range(10):
            kept = [v for v in range(len(candidates)) if v == u or numbers[v] != numbers[u]]
            logits = {v: 3.0 * dot(unit(student[u][piece]), unit(candidates[v][piece])) for v in kept}
            terms.append(math.log(sum(map(math.exp, logits.values()))) - logits[u])
    assert objective(batch).item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_ckd_info_nce_in_closed_form(make_batch):
    same = torch.nn.functional.normalize(torch.ones(4, 5), dim=1)
    ids = {"left_id": torch.arange(4), "right_id": torch.arange(4, 8)}
    teacher = {"teacher_left": same, "teacher_right": same}
    batch = make_batch(4, left=same.clone(), right=same.clone(), **teacher, **ids)
    assert build_objective("ckd_info_nce", batch)(batch).item() == pytest.approx(math.log(8), rel=1e-5)
    twice = make_batch(4, **ids)
    objective = build_objective("ckd_info_nce", twice)
    scaled = MatchBatch(
        **{n: getattr(twice, n) for n in twice.present} | {"left": 2 * twice.left, "right": 2 * twice.right}
    )
    assert objective(scaled).item() == pytest.approx(objective(twice).item(), rel=1e-5)
    objective(twice).backward()
    assert objective.log_scale.grad.abs() > 0
    torch.nn.init.constant_(objective.log_scale, math.log(100))
    largest = objective(twice).item()
    torch.nn.init.constant_(objective.log_scale, 9.0)
    assert objective(twice).item() == pytest.approx(largest, rel=1e-5)
    for settings in ({"chunks": 0}, {"initial_scale": 0}, {"initial_scale": 101}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            build_objective("ckd_info_nce", twice, **settings)


def loop_plan(cost):
    count = len(cost)
    kernel = [[math.exp(-value / SINKHORN_TEMPERATURE) for value in row] for row in cost]
    rows, columns = [1.0] * count, [1.0] * count
    for _ in range(SINKHORN_STEPS):
        rows = [1 / count / sum(k * c for k, c in zip(kernel[i], columns, strict=True)) for i in range(count)]
        columns = [1 / count / sum(kernel[i][j] * rows[i] for i in range(count)) for j in range(count)]
    return [[rows[i] * kernel[i][j] * columns[j] for j in range(count)] for i in range(count)]


def test_wcord_equals_plain_loops(make_batch):
    batch = make_batch(4, columns=6)
    objective = build_objective("wcord", batch, global_weight=0.7, local_weight=0.2)
    student, teacher, ids = mapped(objective, batch)
    critic = [[dot(unit(s), t) for t in teacher] for s in student]
    apart = [critic[u][v] for u in range(8) for v in range(8) if ids[u] != ids[v]]
    matched = 1 - (sum(critic[u][u] for u in range(8)) / 8 - sum(apart) / len(apart)) / 2
    plan = loop_plan([[1 - value for value in row] for row in critic])
    local = sum(plan[u][v] * (1 - critic[u][v]) for u in range(8) for v in range(8))
    assert objective(batch).item() == pytest.approx(0.7 * matched + 0.2 * local, rel=1e-4)


def test_transport_plan_is_a_constant_of_wcord(make_batch):
    batch = make_batch(4)
    objective = build_objective("wcord", batch, global_weight=0.0)
    objective(batch).backward()
    found = objective.projection.weight.grad.clone()
    objective.zero_grad()
    student, teacher = objective.projected(batch), torch.cat([batch.teacher_left, batch.teacher_right])
    cost = 1 - torch.nn.functional.normalize(student, dim=1) @ teacher.T
    (0.05 * (transport_plan(cost.detach()) * cost).sum()).backward()
    torch.testing.assert_close(objective.projection.weight.grad, found)


def test_the_transport_plan_has_uniform_marginals_and_does_not_know_which_row_is_which():
    vectors = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    cost = 1 - vectors @ vectors.T
    plan = transport_plan(cost)
    torch.testing.assert_close(plan.sum(0), torch.full((6,), 1 / 6), atol=1e-6, rtol=0)
    torch.testing.assert_close(plan.sum(1), torch.full((6,), 1 / 6), atol=1e-4, rtol=0)
    moved = cost[:, torch.tensor([3, 1, 5, 0, 2, 4])]
    torch.testing.assert_close((transport_plan(moved) * moved).sum(), (plan * cost).sum())


def test_wcord_is_lower_where_each_text_has_its_own_teacher_vector(make_batch):
    batch = same_vectors(make_batch)
    matched = with_identity(build_objective("wcord", batch))(batch).item()
    tensors = {name: getattr(batch, name) for name in batch.present}
    mixed = MatchBatch(**tensors | {"teacher_left": batch.teacher_left.roll(1, 0)})
    assert matched < with_identity(build_objective("wcord", mixed))(mixed).item()
    with pytest.raises(ConfigError, match="local_weight=-1"):
        build_objective("wcord", batch, local_weight=-1)


@pytest.mark.parametrize("name", ["embed_align", "ckd_info_nce", "wcord"])
def test_projections_refuse_a_teacher_without_vectors(make_batch, name):
    with pytest.raises(ConfigError, match=r"needs teacher_left.*bi-encoder"):
        build_objective(name, make_batch(teacher_left=None, teacher_right=None))
