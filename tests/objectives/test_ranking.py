"""teacher_rank_hinge and list_mle against plain loops, closed forms and the properties of their sources."""

import math
from dataclasses import replace

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.ranking import list_mle, teacher_rank_hinge


def both_directions(batch):
    cells = [batch.similarity.tolist(), batch.teacher_similarity.tolist(), batch.valid_mask.tolist()]
    return cells, [[list(column) for column in zip(*rows, strict=True)] for rows in cells]


def loop_hinge(student, teacher, usable, margin):
    terms = []
    for s_row, t_row, u_row in zip(student, teacher, usable, strict=True):
        cells = [j for j, use in enumerate(u_row) if use]
        terms += [
            max(0.0, margin - (s_row[j] - s_row[k])) for j in cells for k in cells if t_row[j] - t_row[k] > margin
        ]
    return sum(terms) / len(terms) if terms else 0.0


def loop_mle(student, teacher, usable, top, tau):
    """Compare each candidate with those of a lower teacher score, weighted by the share of its ranks that count."""
    terms = []
    for s_row, t_row, u_row in zip(student, teacher, usable, strict=True):
        cells = [j for j, use in enumerate(u_row) if use]
        if len(cells) < 2:
            continue
        powers = {j: math.exp(s_row[j] / tau) for j in cells}
        term = 0.0
        for j in cells:
            before = sum(t_row[k] > t_row[j] for k in cells)
            tied = sum(t_row[k] == t_row[j] for k in cells)
            counted = sum(place < top for place in range(before, before + tied))
            behind = sum(powers[k] for k in cells if t_row[k] < t_row[j])
            term -= counted / tied * math.log(powers[j] / (powers[j] + behind))
        terms.append(term)
    return sum(terms) / len(terms) if terms else 0.0


def grid_batch(student, teacher, **more):
    return MatchBatch(left=student, right=torch.eye(student.shape[1]), teacher_grid=teacher, **more)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [7, 10])
def test_teacher_rank_hinge_equals_plain_loops(make_batch, seed, columns):
    batch = make_batch(7, columns=columns, seed=seed)
    expected = sum(loop_hinge(*cells, 0.3) for cells in both_directions(batch)) / 2
    assert teacher_rank_hinge(batch, margin=0.3).item() == pytest.approx(expected, rel=1e-5)


def test_teacher_rank_hinge_is_0_from_the_margin_on():
    teacher = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    assert teacher_rank_hinge(grid_batch(0.1 * teacher, teacher)).item() == pytest.approx(0.02)  # 0.1 - 0.08
    assert teacher_rank_hinge(grid_batch(teacher, teacher)).item() == 0
    assert teacher_rank_hinge(grid_batch(-teacher, teacher)).item() == pytest.approx(0.9)


def test_teacher_rank_hinge_ignores_gaps_up_to_the_margin():
    student = torch.randn(3, 3, requires_grad=True)
    loss = teacher_rank_hinge(grid_batch(student, torch.eye(3) * 0.09))
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [7, 10])
@pytest.mark.parametrize("top", [1, 2, 20])
@pytest.mark.parametrize("digits", [0, 1, 9])  # few digits: many ties
def test_list_mle_equals_plain_loops(make_batch, seed, columns, top, digits):
    batch = make_batch(7, columns=columns, seed=seed)
    batch = replace(batch, teacher_grid=batch.teacher_grid.round(decimals=digits))
    expected = sum(loop_mle(*cells, top, 0.3) for cells in both_directions(batch)) / 2
    assert list_mle(batch, top=top, temperature=0.3).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("top", [1, 2, 3])
def test_list_mle_of_ties_does_not_depend_on_the_order_of_the_batch(top):
    random = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(9, 9, generator=random), torch.rand(9, 9, generator=random).round(decimals=1)
    rounding = torch.rand(9, 9, generator=random) * 1e-7  # of one product in float32
    expected = list_mle(grid_batch(student, teacher), top=top).item()
    for _ in range(4):
        rows, columns = (torch.randperm(9, generator=random) for _ in range(2))
        found = list_mle(grid_batch(student[rows][:, columns], (teacher + rounding)[rows][:, columns]), top=top)
        assert found.item() == pytest.approx(expected, rel=1e-5)


def test_list_mle_does_not_compare_tied_candidates():
    student = torch.tensor([[0.0, 1.0, 3.0]], requires_grad=True)
    batch = MatchBatch(left=student, right=torch.eye(3), teacher_grid=torch.tensor([[0.9, 0.9, 0.1]]))
    expected = [math.log1p(math.exp(3.0 - own)) for own in (0.0, 1.0)]  # each against the third alone
    assert list_mle(batch, top=1, temperature=1.0).item() == pytest.approx(sum(expected) / 2 / 2, rel=1e-5)
    assert list_mle(batch, top=2, temperature=1.0).item() == pytest.approx(sum(expected) / 2, rel=1e-5)
    all_tied = list_mle(MatchBatch(left=student, right=torch.eye(3), teacher_grid=torch.ones(1, 3)))
    all_tied.backward()
    assert all_tied.item() == 0
    assert not student.grad.any()


def test_list_mle_of_equal_similarities_in_closed_form():
    loss = list_mle(grid_batch(torch.zeros(5, 5), torch.rand(5, 5)))
    assert loss.item() == pytest.approx(math.log(5) + math.log(4), rel=1e-5)


def test_list_mle_with_top_1_is_the_cross_entropy_of_the_nearest():
    random = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(6, 6, generator=random), torch.rand(6, 6, generator=random)
    expected = [
        torch.nn.functional.cross_entropy(s / 0.05, t.argmax(1))
        for s, t in ((student, teacher), (student.T, teacher.T))
    ]
    torch.testing.assert_close(list_mle(grid_batch(student, teacher), top=1), sum(expected) / 2)


def test_ranking_objectives_ignore_masked_cells():
    ids = {"left_id": torch.tensor([0, 1, 2, 3]), "right_id": torch.tensor([10, 11, 11, 13])}  # texts 1 and 2 are one
    for objective in (list_mle, teacher_rank_hinge):
        student = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
        teacher = torch.rand(4, 4, generator=torch.Generator().manual_seed(2))
        loss = objective(grid_batch(student, teacher, **ids))
        loss.backward()
        assert student.grad[1, 2] == student.grad[2, 1] == 0
        changed = teacher.clone()
        changed[1, 2] = 1e4
        assert objective(grid_batch(student, changed, **ids)).item() == loss.item()


@pytest.mark.parametrize(
    ("objective", "setting"),
    [
        (teacher_rank_hinge, {"margin": -0.1}),
        (teacher_rank_hinge, {"margin": math.nan}),
        (teacher_rank_hinge, {"max_comparisons": 0}),
        (list_mle, {"top": 0}),
        (list_mle, {"temperature": 0.0}),
    ],
)
def test_ranking_objectives_refuse_impossible_settings_and_pair_scores(make_batch, objective, setting):
    [(name, value)] = setting.items()
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        objective(make_batch(), **setting)
    with pytest.raises(ConfigError, match=r"needs teacher_grid.*bi-encoder"):
        objective(make_batch(teacher_grid=None, teacher_pair=torch.rand(8)))
