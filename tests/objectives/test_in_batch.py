"""in_batch_kl against plain loops, closed forms and the properties of the method."""

import math

import pytest
import torch
from torch.nn.functional import kl_div

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.in_batch import in_batch_kl, score_mse, top_k_kl


def loop_kl(student, teacher, usable, tau_student, tau_teacher):
    """Mean KL over the rows of three nested lists, in float64 and one cell at a time."""
    terms = []
    for s_row, t_row, u_row in zip(student, teacher, usable, strict=True):
        cells = [j for j, use in enumerate(u_row) if use]
        if len(cells) < 2:
            continue
        s_total = sum(math.exp(s_row[j] / tau_student) for j in cells)
        t_total = sum(math.exp(t_row[j] / tau_teacher) for j in cells)
        term = 0.0
        for j in cells:
            p = math.exp(t_row[j] / tau_teacher) / t_total
            term += p * math.log(p / (math.exp(s_row[j] / tau_student) / s_total))
        terms.append(term)
    return sum(terms) / len(terms) if terms else 0.0


def transposed(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def grid_batch(student, teacher, **more):
    """A batch whose student similarities are the given numbers (right-hand texts are the axes)."""
    return MatchBatch(left=student, right=torch.eye(student.shape[1]), teacher_grid=teacher, **more)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [7, 10])
@pytest.mark.parametrize("symmetric", [True, False])
def test_in_batch_kl_equals_plain_loops(make_batch, seed, columns, symmetric):
    batch = make_batch(7, columns=columns, seed=seed)
    cells = [batch.similarity.tolist(), batch.teacher_similarity.tolist(), batch.valid_mask.tolist()]
    expected = loop_kl(*cells, 0.3, 0.2)
    if symmetric:
        expected = (expected + loop_kl(*map(transposed, cells), 0.3, 0.2)) / 2
    loss = in_batch_kl(batch, temperature_student=0.3, temperature_teacher=0.2, symmetric=symmetric)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_in_batch_kl_is_the_kl_divergence_of_torch(make_batch):
    batch = make_batch(6, left_id=None, right_id=None)
    student, teacher = batch.similarity / 0.05, batch.teacher_similarity / 0.05
    expected = kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")
    torch.testing.assert_close(in_batch_kl(batch, symmetric=False), expected)


def test_in_batch_kl_of_a_flat_student_in_closed_form():
    teacher = 0.05 * torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])  # softmax 3/4, 1/4
    expected = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert in_batch_kl(grid_batch(torch.zeros(2, 2), teacher)).item() == pytest.approx(expected, rel=1e-5)


def test_in_batch_kl_is_0_when_the_student_matches_up_to_a_constant_per_row():
    teacher = torch.rand(6, 6, generator=torch.Generator().manual_seed(3)) * 2 - 1
    student = (teacher / 0.1 + torch.arange(6.0)[:, None]) * 0.05
    loss = in_batch_kl(
        grid_batch(student, teacher), temperature_student=0.05, temperature_teacher=0.1, symmetric=False
    )
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert in_batch_kl(grid_batch(teacher, teacher)).item() == 0


def test_in_batch_kl_gradient_is_the_gap_of_the_softmaxes_over_the_rows():
    random = torch.Generator().manual_seed(1)
    student = torch.randn(5, 5, generator=random, requires_grad=True)
    teacher = torch.randn(5, 5, generator=random, requires_grad=True)
    in_batch_kl(
        grid_batch(student, teacher), temperature_student=0.5, temperature_teacher=0.7, symmetric=False
    ).backward()
    gap = (student.detach() / 0.5).softmax(1) - (teacher.detach() / 0.7).softmax(1)
    torch.testing.assert_close(student.grad, gap / 5 / 0.5)  # by the logit S / tau_s: gap / N
    assert teacher.grad is None


def test_in_batch_kl_ignores_masked_cells():
    student = torch.randn(4, 4, requires_grad=True)
    teacher = torch.rand(4, 4)
    ids = {"left_id": torch.tensor([0, 1, 2, 3]), "right_id": torch.tensor([10, 11, 11, 13])}  # texts 1 and 2 are one
    loss = in_batch_kl(grid_batch(student, teacher, **ids))
    loss.backward()
    assert student.grad[1, 2] == 0
    assert student.grad[2, 1] == 0
    assert (student.grad != 0).sum() == 14
    changed = teacher.clone()
    changed[1, 2] = 1e4
    assert in_batch_kl(grid_batch(student, changed, **ids)).item() == loss.item()


@pytest.mark.parametrize("ids", [{}, {"left_id": torch.tensor([5, 5, 5]), "right_id": torch.tensor([1, 2, 3])}])
def test_in_batch_kl_of_one_candidate_is_0_and_has_a_gradient(ids):
    student = torch.randn(3 if ids else 1, 3 if ids else 1, requires_grad=True)
    loss = in_batch_kl(grid_batch(student, torch.rand_like(student), **ids))
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


@pytest.mark.parametrize("setting", ["temperature_student", "temperature_teacher"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_in_batch_kl_needs_temperatures_above_0(make_batch, setting, value):
    with pytest.raises(ConfigError, match=f"{setting}={value}"):
        in_batch_kl(make_batch(), **{setting: value})


def test_in_batch_kl_refuses_pair_scores_alone(make_batch):
    with pytest.raises(ConfigError, match=r"needs teacher_grid.*bi-encoder"):
        in_batch_kl(make_batch(teacher_grid=None, teacher_pair=torch.rand(8)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [7, 10])
def test_score_mse_equals_plain_loops(make_batch, seed, columns):
    batch = make_batch(7, columns=columns, seed=seed)
    own, other = [], []
    for i, row in enumerate(batch.valid_mask.tolist()):
        for j, usable in enumerate(row):
            if usable:
                gap = batch.similarity[i, j].item() - batch.teacher_similarity[i, j].item()
                (own if i == j else other).append(gap**2)
    assert score_mse(batch).item() == pytest.approx(sum(own) / len(own) + sum(other) / len(other), rel=1e-5)


def test_score_mse_in_closed_form():
    teacher = torch.tensor([[0.5, 0.0], [0.2, 0.5]])
    assert score_mse(grid_batch(torch.zeros(2, 2), teacher)).item() == pytest.approx(0.25 + 0.02)
    assert score_mse(grid_batch(teacher, teacher)).item() == 0
    pairs_only = MatchBatch(left=torch.eye(2), right=torch.eye(2), teacher_pair=torch.tensor([0.5, 1.0]))
    assert score_mse(pairs_only).item() == pytest.approx(0.125)


def test_score_mse_gradient_is_the_gap_and_ignores_labels(make_batch):
    student = torch.randn(4, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    teacher = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), requires_grad=True)
    batch = grid_batch(student, teacher)
    score_mse(batch).backward()
    share = torch.where(batch.pair_mask, 1 / 4, 1 / 12)
    torch.testing.assert_close(student.grad, 2 * share * (student - teacher).detach())
    assert teacher.grad is None
    one = make_batch(6)
    assert score_mse(one).item() == score_mse(make_batch(6, label=None)).item()


def test_top_k_kl_equals_plain_loops_over_the_teachers_first_candidates(make_batch):
    batch = make_batch(6, columns=8)
    similarity, teacher, valid = (
        grid.tolist() for grid in (batch.similarity, batch.teacher_similarity, batch.valid_mask)
    )
    means = []
    for cells in ([[(i, j) for j in range(8)] for i in range(6)], [[(i, j) for i in range(6)] for j in range(8)]):
        terms = []
        for line in cells:
            kept = sorted((cell for cell in line if valid[cell[0]][cell[1]]), key=lambda c: -teacher[c[0]][c[1]])[:3]
            if len(kept) > 1:
                p, q = (
                    [math.exp(grid[i][j] / tau) for i, j in kept] for grid, tau in ((teacher, 0.2), (similarity, 0.1))
                )
                terms.append(sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True)))
        means.append(sum(terms) / len(terms))
    loss = top_k_kl(batch, top=3, temperature_student=0.1, temperature_teacher=0.2)
    assert loss.item() == pytest.approx(sum(means) / 2, rel=1e-4)


def test_top_k_kl_of_all_candidates_is_in_batch_kl(make_batch):
    batch = make_batch(6)
    for top in (6, 99):
        assert torch.equal(top_k_kl(batch, top=top), in_batch_kl(batch))
    assert top_k_kl(batch, top=2).item() != pytest.approx(in_batch_kl(batch).item(), rel=1e-3)
    with pytest.raises(ConfigError, match="top=1"):
        top_k_kl(batch, top=1)
