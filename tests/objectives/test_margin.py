"""Both margin losses against plain loops, closed forms and the properties of the method."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.margin import margin_angular, margin_hinge
from flipkd.objectives.selection import dual_threshold

FILTER = {"theta_pos": 0.3, "theta_neg": -0.3}
OFF = {"theta_pos": None, "theta_neg": None}


def grid_batch(student, teacher, **more):
    """A batch whose student similarities are the given numbers (right-hand texts are the axes)."""
    return MatchBatch(left=student, right=torch.eye(student.shape[1]), teacher_grid=teacher, **more)


def pair_batch(student, teacher, **more):
    """A batch of pairs with the given student similarities and teacher scores, and nothing off the diagonal."""
    return MatchBatch(left=student[:, None], right=torch.ones(len(student), 1), teacher_pair=teacher, **more)


def chosen(batch, theta):
    """The similarity, teacher value and place of each positive, then of each negative cell."""
    similarity = batch.similarity.tolist()
    result = []
    for mask in dual_threshold(batch, **theta):
        places = [tuple(place) for place in mask.nonzero().tolist()]
        grid = batch.teacher_grid
        result.append(
            [(similarity[i][j], (batch.teacher[i] if grid is None else grid[i, j]).item(), i, j) for i, j in places]
        )
    return result


def loop_hinge(batch, theta, margin, gamma, epsilon):
    positive, negative = chosen(batch, theta)
    between = [max(0.0, margin - (p[0] - q[0])) for p in positive for q in negative]
    within = [
        max(0.0, gamma * (u[1] - v[1]) - (u[0] - v[0]))
        for members in (positive, negative)
        for u in members
        for v in members
        if u[1] - v[1] > epsilon
    ]
    return sum(sum(terms) / len(terms) if terms else 0.0 for terms in (between, within))


def loop_angular(batch, theta, margin_pos, margin_neg, tau):
    """By angles, which is right as long as none passes 0 or pi."""
    positive, negative = chosen(batch, theta)
    theta_pos, theta_neg = (theta["theta_pos"] or 0.0), (theta["theta_neg"] or 0.0)

    def turned(cosine, angle):
        return math.cos(math.acos(max(-1.0, min(1.0, cosine))) + angle)

    pull = [
        (turned(s, margin_pos * max(0.0, (t - theta_pos) / (1 - theta_pos))) / tau, i, j) for s, t, i, j in positive
    ]
    push = [
        (turned(s, -margin_neg * max(0.0, (theta_neg - t) / (theta_neg + 1))) / tau, i, j) for s, t, i, j in negative
    ]
    total = 0.0
    for side in (1, 2):
        terms = []
        for p in pull:
            against = [math.exp(q[0]) for q in push if q[side] == p[side]]
            if against:
                terms.append(math.log(math.exp(p[0]) + sum(against)) - p[0])
        total += sum(terms) / len(terms) if terms else 0.0
    return total / 2


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.numel())
        return result


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("columns", [8, 11])
@pytest.mark.parametrize("theta", [FILTER, OFF])
@pytest.mark.parametrize("grid", [True, False])
def test_hinge_equals_plain_loops(make_batch, seed, columns, theta, grid):
    scores = torch.rand(8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    only_pairs = {} if grid else {"teacher_grid": None, "teacher_pair": scores}
    batch = make_batch(8, columns=columns, seed=seed, **only_pairs)
    loss = margin_hinge(batch, **theta, margin=0.4, gamma=0.7, epsilon=0.1)
    assert loss.item() == pytest.approx(loop_hinge(batch, theta, 0.4, 0.7, 0.1), rel=1e-5, abs=1e-7)


def test_hinge_asks_the_margin_between_the_classes_and_no_more():
    teacher = torch.tensor([0.9, -0.9])
    for gap, expected in ((0.0, 0.2), (0.15, 0.05), (0.2, 0.0), (0.7, 0.0), (-0.3, 0.5)):
        student = torch.tensor([0.1 + gap, 0.1])
        assert margin_hinge(pair_batch(student, teacher), **FILTER).item() == pytest.approx(expected, abs=1e-6)


def test_hinge_is_zero_when_the_classes_are_separated_and_ordered():
    teacher = torch.tensor([0.9, 0.8, -0.8, -0.9])
    student = torch.tensor([0.6, 0.5, -0.5, -0.6], requires_grad=True)
    loss = margin_hinge(pair_batch(student, teacher), **FILTER)
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


def test_a_larger_gap_of_the_teacher_asks_a_larger_gap_of_the_student():
    for sign in (1, -1):  # both in P, both in Q
        losses = []
        for gap in (0.0, 0.04, 0.2, 0.4, 0.6):
            student = torch.tensor([0.1, 0.1], requires_grad=True)
            teacher = sign * torch.tensor([1.0, 1.0 - gap])
            loss = margin_hinge(pair_batch(student, teacher), **FILTER, gamma=0.5)
            loss.backward()
            losses.append(loss.item())
            asked = gap > 0.05
            assert (student.grad * sign).tolist() == ([-1.0, 1.0] if asked else [0.0, 0.0])
        assert losses == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.3], abs=1e-6)


@pytest.mark.parametrize("loss", [margin_hinge, margin_angular])
def test_below_the_threshold_the_gradient_of_a_pair_is_exactly_zero(make_batch, loss):
    student = (make_batch(6, seed=2).similarity * 0.5).detach().requires_grad_()
    teacher = make_batch(6, seed=2).teacher_grid.clone()
    teacher[1, 1], teacher[1, 3] = 0.9, -0.9
    for cell, unsure in (((1, 1), 0.2999), ((1, 3), -0.2999)):
        gradients = []
        for value in (teacher[cell].item(), unsure):
            changed = teacher.clone()
            changed[cell] = value
            (gradient,) = torch.autograd.grad(loss(grid_batch(student, changed), **FILTER), student)
            gradients.append(gradient[cell].item())
        assert gradients[0] != 0
        assert gradients[1] == 0


def test_a_contradicted_pair_gets_no_gradient_at_all(make_batch):
    batch = make_batch(
        3, teacher_grid=None, teacher_pair=torch.tensor([0.9, -0.9, 0.9]), label=torch.tensor([1, 0, 0])
    )
    margin_hinge(batch, **FILTER, margin=5.0).backward()
    assert batch.left.grad[:2].abs().sum(dim=1).min() > 0
    assert not batch.left.grad[2].any()
    assert not batch.right.grad[2].any()


@pytest.mark.parametrize("limit", [1, 500, 5000])
def test_sampled_comparisons_keep_memory_at_the_limit(make_batch, limit):
    batch = make_batch(64, seed=5)
    with LargestTensor() as largest:
        margin_hinge(batch, **FILTER, max_comparisons=limit).backward()
    assert largest.size <= max(64 * 64, limit)


def test_sampled_comparisons_come_close_to_all_of_them(make_batch):
    batch = make_batch(24, seed=5)
    for knobs in ({"gamma": 0.0}, {"margin": -9.0}):  # each mean alone
        full = margin_hinge(batch, **FILTER, **knobs, max_comparisons=10**6).item()
        torch.manual_seed(0)
        sampled = margin_hinge(batch, **FILTER, **knobs, max_comparisons=20_000).item()
        assert full > 0
        assert sampled != full
        assert sampled == pytest.approx(full, rel=0.03)


def test_sampling_follows_the_seed_and_draws_only_when_needed(make_batch):
    batch = make_batch(24, seed=5)
    losses = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        losses.append(margin_hinge(batch, **FILTER, max_comparisons=100).item())
    assert losses[0] == losses[1] != losses[2]
    before = torch.get_rng_state()
    margin_hinge(batch, **FILTER, max_comparisons=10**6)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("knobs", [{"epsilon": -0.1}, {"epsilon": math.nan}, {"max_comparisons": 0}])
def test_hinge_refuses_knobs_out_of_range(make_batch, knobs):
    with pytest.raises(ConfigError, match="at least"):
        margin_hinge(make_batch(), **FILTER, **knobs)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("columns", [8, 11])
@pytest.mark.parametrize("theta", [FILTER, OFF])
def test_angular_equals_plain_loops(make_batch, seed, columns, theta):
    batch = make_batch(8, columns=columns, seed=seed)
    loss = margin_angular(batch, **theta, margin_pos=0.15, margin_neg=0.05, temperature=0.2)
    assert loss.item() == pytest.approx(loop_angular(batch, theta, 0.15, 0.05, 0.2), rel=1e-4)


def test_angular_without_margins_is_infonce_with_the_same_masks(make_batch):
    batch = make_batch(8, seed=1)
    positive, negative = dual_threshold(batch, **FILTER)
    directions = []
    for logits, pos, neg in (
        (batch.similarity / 0.05, positive, negative),
        (batch.similarity.T / 0.05, positive.T, negative.T),
    ):
        terms = [
            cross_entropy(torch.cat([logits[i, p : p + 1], logits[i][neg[i]]]), torch.tensor(0))
            for i, p in pos.nonzero().tolist()
            if neg[i].any()
        ]
        directions.append(torch.stack(terms).mean())
    (expected,) = torch.autograd.grad(sum(directions) / 2, batch.left)
    loss = margin_angular(batch, **FILTER, margin_pos=0.0, margin_neg=0.0)
    torch.testing.assert_close(loss, sum(directions) / 2)
    torch.testing.assert_close(torch.autograd.grad(loss, batch.left)[0], expected, rtol=1e-4, atol=1e-6)


def test_angular_closed_form_at_a_right_angle():
    sure = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    loss = margin_angular(grid_batch(torch.zeros(2, 2), sure), theta_pos=0.0, theta_neg=-0.1, temperature=0.5)
    assert loss.item() == pytest.approx(math.log1p(math.exp(2 * math.sin(0.1) / 0.5)), rel=1e-5)


def test_angular_certainty_makes_it_harder():
    losses = []
    for certainty in (0.3, 0.5, 0.8, 1.0):
        teacher = certainty * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        losses.append(margin_angular(grid_batch(torch.zeros(2, 2), teacher), **FILTER).item())
    assert losses[0] == pytest.approx(math.log(2), rel=1e-5)
    assert losses == sorted(set(losses))


def test_angular_never_wraps_and_pulls_hardest_cases_the_right_way():
    teacher = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    losses = []
    for wrong in torch.linspace(-1, 1, 401).tolist():  # from all right to all wrong
        student = torch.tensor([[-wrong, wrong], [wrong, -wrong]], requires_grad=True)
        loss = margin_angular(grid_batch(student, teacher), **FILTER, margin_pos=0.4, margin_neg=0.4, temperature=1.0)
        loss.backward()
        losses.append(loss.item())
        assert student.grad.isfinite().all()
        if wrong > 0.9999:
            assert student.grad[0, 0] < 0 < student.grad[0, 1]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(losses))


def test_angular_refuses_pair_scores_and_a_temperature_of_zero(make_batch):
    with pytest.raises(ConfigError, match="needs teacher_grid"):
        margin_angular(make_batch(teacher_grid=None, teacher_pair=torch.rand(8)), **FILTER)
    with pytest.raises(ConfigError, match="temperature=0"):
        margin_angular(make_batch(), **FILTER, temperature=0)


@pytest.mark.parametrize("loss", [margin_hinge, margin_angular])
@pytest.mark.parametrize("theta", [(2.0, -2.0), (2.0, 0.0), (0.0, -2.0)])
def test_without_one_class_backward_still_works(make_batch, loss, theta):
    batch = make_batch(6)
    value = loss(batch, theta_pos=theta[0], theta_neg=theta[1])
    value.backward()
    assert batch.left.grad.isfinite().all()
    if loss is margin_angular or theta == (2.0, -2.0):
        assert value.item() == 0
        assert not batch.left.grad.any()
