"""Both margin losses against plain loops, closed forms and the properties of the method."""

import math
from dataclasses import replace
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
    """Return (similarity, teacher value, index) of each positive, then of each negative cell."""
    similarity = batch.similarity.tolist()
    result = []
    for mask in dual_threshold(batch, **theta):
        places = [tuple(place) for place in mask.nonzero().tolist()]
        grid = batch.teacher_grid
        result.append(
            [(similarity[i][j], (batch.teacher[i] if grid is None else grid[i, j]).item(), i, j) for i, j in places]
        )
    return result


def loop_hinge(batch, theta, margin, gamma, epsilon, *, apart=False, active=False, scale=1.0, trust=None):
    """`trust` is the slope and intercept of the teacher's log-odds; `theta` may hold any setting of the dual threshold."""
    positive, negative = chosen(batch, theta | ({"trust": True} if trust else {}))
    positive, negative = ([(*cell, sign) for cell in members] for members, sign in ((positive, 1), (negative, -1)))

    def weight(cell):
        _, t, i, j, sign = cell
        return 1 / (1 + math.exp(-sign * (trust[0] * t + trust[1]))) if trust and i == j else 1.0

    def term(value, *two):
        return max(0.0, value), all(cell[2] == cell[3] for cell in two), weight(two[0]) * weight(two[1])

    between = [term(margin - (p[0] - q[0]), p, q) for p in positive for q in negative]
    within = [
        term(gamma * scale * (u[1] - v[1]) - (u[0] - v[0]), u, v)
        for members in (positive, negative)
        for u in members
        for v in members
        if scale * (u[1] - v[1]) > epsilon
    ]
    total = 0.0
    for terms in (between, within):
        for group in ([True], [False]) if apart else ([True, False],):
            mine = [(value, w) for value, pairs, w in terms if pairs in group and (value > 0 or not active)]
            total += sum(value * w for value, w in mine) / sum(w for _, w in mine) if mine else 0.0
    return total


def loop_angular(batch, theta, margin_pos, margin_neg, tau, *, low=-1.0, high=1.0):
    """Compute margin_angular by angles; valid while no angle is below 0 or above pi. The certainty is 1 at `low` and `high`."""
    positive, negative = chosen(batch, theta)
    middle = (low + high) / 2
    theta_pos, theta_neg = (middle if theta[name] is None else theta[name] for name in ("theta_pos", "theta_neg"))

    def turned(cosine, angle):
        return math.cos(math.acos(max(-1.0, min(1.0, cosine))) + angle)

    def sure(past, most):
        return max(0.0, min(1.0, past / most))

    pull = [(turned(s, margin_pos * sure(t - theta_pos, high - theta_pos)) / tau, i, j) for s, t, i, j in positive]
    push = [(turned(s, -margin_neg * sure(theta_neg - t, theta_neg - low)) / tau, i, j) for s, t, i, j in negative]
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
    """Records the size of the largest tensor that any operation makes."""

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
def test_margin_hinge_equals_plain_loops(make_batch, seed, columns, theta, grid):
    scores = torch.rand(8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    only_pairs = {} if grid else {"teacher_grid": None, "teacher_pair": scores}
    batch = make_batch(8, columns=columns, seed=seed, **only_pairs)
    loss = margin_hinge(batch, **theta, margin=0.4, gamma=0.7, epsilon=0.1)
    assert loss.item() == pytest.approx(loop_hinge(batch, theta, 0.4, 0.7, 0.1), rel=1e-5, abs=1e-7)


REPAIRS = [
    {"apart": True},
    {"active": True},
    {"apart": True, "active": True},
    {"spread": 0.3, "teacher_std": 0.1},
    {"trust": True, "teacher_slope": 3.0, "teacher_intercept": -0.5},
    {"trust": True, "teacher_slope": 3.0, "apart": True, "active": True, "spread": 0.1, "teacher_std": 0.3},
]
OFF_DIAGONALS = [
    {},
    {"off_diagonal": "negatives"},
    {"off_diagonal": "none"},
    {"theta_off_pos": 0.7, "theta_off_neg": 0.1},
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("theta", [FILTER, OFF])
@pytest.mark.parametrize("settings", REPAIRS)
@pytest.mark.parametrize("off_diagonal", OFF_DIAGONALS)
@pytest.mark.parametrize("grid", [True, False])
def test_margin_hinge_with_its_settings_equals_plain_loops(make_batch, seed, theta, settings, off_diagonal, grid):
    scores = torch.rand(8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    only_pairs = {} if grid else {"teacher_grid": None, "teacher_pair": scores}
    batch = make_batch(8, columns=11, seed=seed, **only_pairs)
    loss = margin_hinge(batch, **theta, **settings, **off_diagonal, margin=0.4, gamma=0.7, epsilon=0.1)
    trust = (settings["teacher_slope"], settings.get("teacher_intercept", 0.0)) if "trust" in settings else None
    expected = loop_hinge(
        batch,
        theta | off_diagonal,
        0.4,
        0.7,
        0.1,
        apart=grid and "apart" in settings,
        active="active" in settings,
        scale=settings.get("spread", 1.0) / settings.get("teacher_std", 1.0),
        trust=trust,
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    loss.backward()
    assert batch.left.grad.isfinite().all()


def test_active_means_are_not_diluted_by_terms_of_0():
    teacher = torch.tensor([0.9, -0.9, -0.9, -0.9])
    student = torch.tensor([0.1, 0.1, -0.9, -0.9], requires_grad=True)  # two of three negatives are far enough away
    diluted, active = (margin_hinge(pair_batch(student, teacher), **FILTER, active=a) for a in (False, True))
    assert diluted.item() == pytest.approx(0.2 / 3)
    assert active.item() == pytest.approx(0.2)
    active.backward()
    assert student.grad.tolist() == [-1.0, 1.0, 0.0, 0.0]


def test_apart_gives_the_pairs_means_without_other_cells():
    """The batch has one negative pair at half of the margin, and cells off the diagonal without a term."""
    student = torch.full((8, 8), -0.5)
    teacher = torch.full((8, 8), -0.9)
    teacher[0, 0], student[0, 0], student[1, 1] = 0.9, 0.5, 0.4
    batch = grid_batch(student, teacher, label=torch.tensor([1, 0, -1, -1, -1, -1, -1, -1]))
    together, apart = (margin_hinge(batch, **FILTER, apart=a).item() for a in (False, True))
    assert together == pytest.approx(0.1 / 63, rel=1e-4)
    assert apart == pytest.approx(0.1 / 7, rel=1e-4)
    assert margin_hinge(batch, **FILTER, apart=True, active=True).item() == pytest.approx(0.1, rel=1e-4)


def test_spread_gives_the_same_loss_for_a_teacher_with_narrow_scores():
    student, wide = torch.zeros(4), torch.tensor([0.9, 0.7, 0.5, 0.4])
    narrow = 0.75 + 0.1 * wide
    losses = [
        margin_hinge(
            pair_batch(student, t), theta_pos=0.3, theta_neg=-0.3, spread=0.2, teacher_std=float(t.std())
        ).item()
        for t in (wide, narrow)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] > 0.05
    assert margin_hinge(pair_batch(student, narrow), **FILTER).item() == 0, "its gaps are below epsilon"


def test_trust_keeps_a_contradicted_pair_with_the_weight_of_its_label_class():
    """The batch has three pairs labelled 1, the second with a low teacher score, and one labelled 0."""
    student = torch.zeros(4, requires_grad=True)
    teacher = torch.tensor([2.0, -2.0, 2.0, -2.0])
    batch = pair_batch(student, teacher, label=torch.tensor([1, 1, 1, 0]))
    loss = margin_hinge(batch, **FILTER, trust=True, gamma=0.0)
    loss.backward()
    sure, doubted = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(2.0))
    assert loss.item() == pytest.approx(0.2, rel=1e-5)
    parts = [weight / (2 * sure + doubted) for weight in (sure, doubted, sure)]
    assert (-student.grad[:3]).tolist() == pytest.approx(parts, rel=1e-5)
    assert student.grad[3].item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("loss", [margin_hinge, margin_angular])
def test_off_diagonal_none_ignores_the_similarity_of_these_cells(make_batch, loss):
    student = (make_batch(6, seed=2).similarity * 0.5).detach().requires_grad_()
    batch = grid_batch(student, make_batch(6, seed=2).teacher_grid)
    loss(batch, **FILTER, off_diagonal="none").backward()
    assert not student.grad[~torch.eye(6, dtype=torch.bool)].any()


@pytest.mark.parametrize(
    "settings", [{"spread": 0.2}, {"spread": 0.0, "teacher_std": 0.1}, {"spread": 0.2, "teacher_std": 0.0}]
)
def test_margin_hinge_refuses_an_impossible_spread(make_batch, settings):
    with pytest.raises(ConfigError, match="both must be above 0"):
        margin_hinge(make_batch(), **FILTER, **settings)


def test_margin_hinge_is_0_from_the_margin_on():
    teacher = torch.tensor([0.9, -0.9])
    for gap, expected in ((0.0, 0.2), (0.15, 0.05), (0.2, 0.0), (0.7, 0.0), (-0.3, 0.5)):
        student = torch.tensor([0.1 + gap, 0.1])
        assert margin_hinge(pair_batch(student, teacher), **FILTER).item() == pytest.approx(expected, abs=1e-6)


def test_margin_hinge_is_0_when_the_classes_are_separated_and_ordered():
    teacher = torch.tensor([0.9, 0.8, -0.8, -0.9])
    student = torch.tensor([0.6, 0.5, -0.5, -0.6], requires_grad=True)
    loss = margin_hinge(pair_batch(student, teacher), **FILTER)
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


def test_margin_hinge_grows_with_the_gap_of_the_teacher():
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
def test_margin_losses_have_no_gradient_for_pairs_between_the_thresholds(make_batch, loss):
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


def test_margin_hinge_has_no_gradient_for_a_contradicted_pair(make_batch):
    batch = make_batch(
        3, teacher_grid=None, teacher_pair=torch.tensor([0.9, -0.9, 0.9]), label=torch.tensor([1, 0, 0])
    )
    margin_hinge(batch, **FILTER, margin=5.0).backward()
    assert batch.left.grad[:2].abs().sum(dim=1).min() > 0
    assert not batch.left.grad[2].any()
    assert not batch.right.grad[2].any()


@pytest.mark.parametrize("limit", [1, 500, 5000])
def test_max_comparisons_limits_memory(make_batch, limit):
    batch = make_batch(64, seed=5)
    with LargestTensor() as largest:
        margin_hinge(batch, **FILTER, max_comparisons=limit).backward()
    assert largest.size <= max(64 * 64, limit)


def test_margin_hinge_max_comparisons_estimates_the_loss_of_all_comparisons(make_batch):
    batch = make_batch(24, seed=5)
    for settings in ({"gamma": 0.0}, {"margin": -9.0}):  # each mean alone
        full = margin_hinge(batch, **FILTER, **settings, max_comparisons=10**6).item()
        torch.manual_seed(0)
        sampled = margin_hinge(batch, **FILTER, **settings, max_comparisons=20_000).item()
        assert full > 0
        assert sampled != full
        assert sampled == pytest.approx(full, rel=0.03)


def test_margin_hinge_max_comparisons_draws_by_seed_and_only_when_needed(make_batch):
    batch = make_batch(24, seed=5)
    losses = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        losses.append(margin_hinge(batch, **FILTER, max_comparisons=100).item())
    assert losses[0] == losses[1] != losses[2]
    before = torch.get_rng_state()
    margin_hinge(batch, **FILTER, max_comparisons=10**6)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("settings", [{"epsilon": -0.1}, {"epsilon": math.nan}, {"max_comparisons": 0}])
def test_margin_hinge_refuses_settings_out_of_range(make_batch, settings):
    with pytest.raises(ConfigError, match="at least"):
        margin_hinge(make_batch(), **FILTER, **settings)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("columns", [8, 11])
@pytest.mark.parametrize("theta", [FILTER, OFF])
def test_margin_angular_equals_plain_loops(make_batch, seed, columns, theta):
    batch = make_batch(8, columns=columns, seed=seed)
    loss = margin_angular(batch, **theta, margin_pos=0.15, margin_neg=0.05, temperature=0.2)
    assert loss.item() == pytest.approx(loop_angular(batch, theta, 0.15, 0.05, 0.2), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("theta", [FILTER, OFF])
@pytest.mark.parametrize("off_diagonal", OFF_DIAGONALS)
def test_margin_angular_with_own_range_equals_plain_loops(make_batch, seed, theta, off_diagonal):
    batch = make_batch(8, columns=11, seed=seed)
    settings = {"margin_pos": 0.15, "margin_neg": 0.05, "temperature": 0.2}
    ends = {"own_range": True, "teacher_low": -0.6, "teacher_high": 0.8}
    expected = loop_angular(batch, theta | off_diagonal, 0.15, 0.05, 0.2, low=-0.6, high=0.8)
    assert margin_angular(batch, **theta, **settings, **ends, **off_diagonal).item() == pytest.approx(
        expected, rel=1e-4
    )


def test_margin_angular_with_own_range_is_certain_at_the_ends():
    teacher = torch.tensor([[0.9, 0.7], [0.7, 0.9]])
    ends = {"teacher_low": 0.7, "teacher_high": 0.9}
    theta = {"theta_pos": 0.85, "theta_neg": 0.75, "temperature": 0.5}
    batch = grid_batch(torch.zeros(2, 2), teacher)
    loss = margin_angular(batch, **theta, own_range=True, **ends)
    assert loss.item() == pytest.approx(math.log1p(math.exp(2 * math.sin(0.1) / 0.5)), rel=1e-5)
    assert margin_angular(batch, **theta, **ends).item() < loss.item()
    with pytest.raises(ConfigError, match="must be below teacher_high"):
        margin_angular(batch, **theta, own_range=True, teacher_low=0.9, teacher_high=0.9)


def test_margin_angular_without_margins_is_infonce_with_the_same_masks(make_batch):
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


def test_margin_angular_at_a_right_angle_in_closed_form():
    sure = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    loss = margin_angular(grid_batch(torch.zeros(2, 2), sure), theta_pos=0.0, theta_neg=-0.1, temperature=0.5)
    assert loss.item() == pytest.approx(math.log1p(math.exp(2 * math.sin(0.1) / 0.5)), rel=1e-5)


def test_margin_angular_grows_with_certainty():
    losses = []
    for certainty in (0.3, 0.5, 0.8, 1.0):
        teacher = certainty * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        losses.append(margin_angular(grid_batch(torch.zeros(2, 2), teacher), **FILTER).item())
    assert losses[0] == pytest.approx(math.log(2), rel=1e-5)
    assert losses == sorted(set(losses))


def test_margin_angular_has_the_right_gradient_beyond_pi():
    teacher = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    losses = []
    for wrong in torch.linspace(-1, 1, 101).tolist():  # from all right to all wrong
        student = torch.tensor([[-wrong, wrong], [wrong, -wrong]], requires_grad=True)
        loss = margin_angular(grid_batch(student, teacher), **FILTER, margin_pos=0.4, margin_neg=0.4, temperature=1.0)
        loss.backward()
        losses.append(loss.item())
        assert student.grad.isfinite().all()
        if wrong > 0.9999:
            assert student.grad[0, 0] < 0 < student.grad[0, 1]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(losses))


def test_margin_angular_refuses_pair_scores_and_a_temperature_of_0(make_batch):
    with pytest.raises(ConfigError, match="needs teacher_grid"):
        margin_angular(make_batch(teacher_grid=None, teacher_pair=torch.rand(8)), **FILTER)
    with pytest.raises(ConfigError, match="temperature=0"):
        margin_angular(make_batch(), **FILTER, temperature=0)


@pytest.mark.parametrize("loss", [margin_hinge, margin_angular])
@pytest.mark.parametrize("theta", [(2.0, -2.0), (2.0, 0.0), (0.0, -2.0)])
def test_margin_losses_without_one_class_have_a_gradient(make_batch, loss, theta):
    batch = make_batch(6)
    value = loss(batch, theta_pos=theta[0], theta_neg=theta[1])
    value.backward()
    assert batch.left.grad.isfinite().all()
    if loss is margin_angular or theta == (2.0, -2.0):
        assert value.item() == 0
        assert not batch.left.grad.any()


def test_margin_angular_takes_the_certainty_of_a_pair_from_its_own_score():
    """As `dual_threshold` does: the grid of a fine-tuned teacher is overconfident on its training pairs."""
    grid = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    honest = torch.tensor([0.3, 0.3])  # at theta_pos: no certainty
    batch = replace(grid_batch(torch.zeros(2, 2), grid), teacher_pair=honest)
    same = grid_batch(torch.zeros(2, 2), torch.tensor([[0.3, -1.0], [-1.0, 0.3]]))
    settings = {"theta_pos": 0.3, "theta_neg": -0.1}
    assert margin_angular(batch, **settings).item() == pytest.approx(margin_angular(same, **settings).item())
