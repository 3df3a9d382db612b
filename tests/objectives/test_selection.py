"""dual_threshold against its definition, cell by cell."""

import math

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.selection import class_probability, dual_threshold


def known_labels(batch, i, j):
    """Return the labels of the pairs whose texts are those of cell (i, j), in either order, and of pair i on the diagonal."""
    label = batch.label.tolist() if batch.label is not None else [-1] * batch.shape[0]
    found = {label[i]} if i == j else set()
    if batch.left_id is not None:
        left, right = batch.left_id.tolist(), batch.right_id.tolist()
        found |= {
            label[k] for k in range(len(left)) if {(left[i], right[j])} & {(left[k], right[k]), (right[k], left[k])}
        }
    return found


def off_bounds(mode, theta_pos, theta_neg, own_pos, own_neg):
    """Return (lower bound of positives, upper bound of negatives) off the diagonal; infinite where no cell is selected."""
    if mode == "none":
        return math.inf, -math.inf
    if mode == "negatives":
        return math.inf, math.inf if own_neg is None else own_neg
    lower, upper = theta_pos if own_pos is None else own_pos, theta_neg if own_neg is None else own_neg
    return math.inf if lower is None else lower, math.inf if upper is None else upper


def loop_masks(batch, theta_pos, theta_neg, mode="both", own_pos=None, own_neg=None, trust=False):
    """Return both sets of cells by the definition, one cell at a time."""
    positive, negative = set(), set()
    valid_mask, (rows, columns) = batch.valid_mask.tolist(), batch.shape
    label = batch.label.tolist() if batch.label is not None else [-1] * rows
    lower, upper = off_bounds(mode, theta_pos, theta_neg, own_pos, own_neg)
    for i in range(rows):
        for j in range(columns):
            if i != j and (batch.teacher_grid is None or not valid_mask[i][j]):
                continue
            score = batch.teacher[i].item() if i == j else batch.teacher_grid[i, j].item()
            if i != j:
                is_positive, is_negative = score >= lower, score <= upper
            elif theta_pos is None or (trust and label[i] >= 0):
                is_positive, is_negative = label[i] == 1, label[i] == 0
            else:
                is_positive, is_negative = score >= theta_pos, score <= theta_neg
            known = known_labels(batch, i, j)
            positive |= {(i, j)} if is_positive and 0 not in known else set()
            negative |= {(i, j)} if is_negative and 1 not in known else set()
    return positive, negative


def cells(mask):
    return {tuple(cell) for cell in mask.nonzero().tolist()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("columns", [8, 11])
@pytest.mark.parametrize("theta", [(0.3, -0.2), (None, None)])
@pytest.mark.parametrize("given", ["grid", "pairs", "both"])
def test_dual_threshold_equals_the_definition(make_batch, seed, columns, theta, given):
    random = torch.Generator().manual_seed(seed)
    pairs = {} if given == "grid" else {"teacher_pair": torch.rand(8, generator=random) * 2 - 1}
    without_grid = {"teacher_grid": None} if given == "pairs" else {}
    batch = make_batch(8, columns=columns, seed=seed, **pairs, **without_grid)
    positive, negative = dual_threshold(batch, theta_pos=theta[0], theta_neg=theta[1])
    assert positive.shape == negative.shape == (8, columns)
    assert (cells(positive), cells(negative)) == loop_masks(batch, *theta)
    assert not (positive & negative).any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("theta", [(0.3, -0.2), (None, None)])
@pytest.mark.parametrize("mode", ["both", "negatives", "none"])
@pytest.mark.parametrize("own", [(None, None), (0.6, None), (None, -0.4), (0.6, 0.1)])
@pytest.mark.parametrize("trust", [False, True])
def test_dual_threshold_has_its_own_bounds_off_the_diagonal(make_batch, seed, theta, mode, own, trust):
    batch = make_batch(8, columns=11, seed=seed)
    if (mode, theta, own) == ("both", (None, None), (0.6, None)):
        with pytest.raises(ConfigError, match="theta_off_neg must be below"):  # every cell would be in both
            dual_threshold(batch, theta_pos=None, theta_neg=None, theta_off_pos=0.6)
        return
    settings = {"off_diagonal": mode, "theta_off_pos": own[0], "theta_off_neg": own[1], "trust": trust}
    positive, negative = dual_threshold(batch, theta_pos=theta[0], theta_neg=theta[1], **settings)
    assert (cells(positive), cells(negative)) == loop_masks(batch, *theta, mode, *own, trust)
    assert not (positive & negative).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"off_diagonal": "negatives"},
        {"off_diagonal": "negatives", "theta_off_neg": 0.4},
        {"off_diagonal": "none"},
        {"theta_off_pos": 0.8, "theta_off_neg": 0.4},
    ],
)
def test_dual_threshold_without_filter_changes_the_diagonal_alone(make_batch, settings):
    batch = make_batch(8, columns=11, seed=1)
    chosen = [
        dual_threshold(batch, theta_pos=theta[0], theta_neg=theta[1], **settings)
        for theta in ((0.3, -0.2), (None, None))
    ]
    for filtered, unfiltered in zip(*chosen, strict=True):
        assert torch.equal(filtered & ~batch.pair_mask, unfiltered & ~batch.pair_mask)
    assert any((filtered != unfiltered).any() for filtered, unfiltered in zip(*chosen, strict=True))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("label", "score"), [(0, 0.9), (1, -0.9)])
def test_dual_threshold_respects_labels_off_the_diagonal(turned, label, score):
    """Cell (0, 1) has the texts 1 and 4, which are pair 2."""
    pair = (4, 1) if turned else (1, 4)
    batch = MatchBatch(
        teacher_grid=torch.full((3, 3), score),
        label=torch.tensor([-1, -1, label]),
        left_id=torch.tensor([1, 3, pair[0]]),
        right_id=torch.tensor([2, 4, pair[1]]),
    )
    assert batch.valid_mask[0, 1]
    positive, negative = dual_threshold(batch, theta_pos=0.5, theta_neg=-0.5)
    assert not positive[0, 1]
    assert not negative[0, 1]
    assert (positive | negative)[1, 0], "texts 3 and 2 are no pair of the batch"
    if label == 1:
        assert not dual_threshold(batch, theta_pos=None, theta_neg=None)[1][0, 1]


def test_class_probability_is_the_teachers_probability_of_a_pairs_class():
    positive = torch.tensor([[True, False, True], [False, False, False]])
    trust = class_probability(MatchBatch(teacher_grid=torch.zeros(2, 3)), positive, log_odds=torch.tensor([1.0, 2.0]))
    expected = [[1 / (1 + math.exp(-1.0)), 1, 1], [1, 1 - 1 / (1 + math.exp(-2.0)), 1]]
    torch.testing.assert_close(trust, torch.tensor(expected))


@pytest.mark.parametrize("bounds", [(0.2, 0.2), (0.1, 0.4), (-0.3, None), (None, 0.4)])
def test_dual_threshold_refuses_unordered_bounds_off_the_diagonal(make_batch, bounds):
    with pytest.raises(ConfigError, match="theta_off_neg must be below theta_off_pos"):
        dual_threshold(make_batch(), theta_pos=0.3, theta_neg=-0.2, theta_off_pos=bounds[0], theta_off_neg=bounds[1])


def test_dual_threshold_refuses_an_unknown_off_diagonal(make_batch):
    with pytest.raises(ConfigError, match="did you mean 'negatives'"):
        dual_threshold(make_batch(), theta_pos=0.3, theta_neg=-0.2, off_diagonal="negative")


def test_dual_threshold_drops_contradicted_pairs_and_keeps_unlabelled_ones():
    pair = torch.tensor([0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.5])
    batch = MatchBatch(teacher_pair=pair, label=torch.tensor([1, 0, -1, 1, 0, -1, 1]))
    positive, negative = dual_threshold(batch, theta_pos=0.8, theta_neg=0.2)
    assert cells(positive) == {(0, 0), (2, 2)}
    assert cells(negative) == {(4, 4), (5, 5)}


def test_dual_threshold_includes_its_bounds():
    batch = MatchBatch(teacher_pair=torch.tensor([0.75, 0.25]))
    positive, negative = dual_threshold(batch, theta_pos=0.75, theta_neg=0.25)
    assert (cells(positive), cells(negative)) == ({(0, 0)}, {(1, 1)})


@pytest.mark.parametrize("theta", [(0.5, 0.5), (0.2, 0.5), (None, 0.5), (0.5, None), (float("nan"), 0.0)])
def test_dual_threshold_refuses_unordered_bounds(make_batch, theta):
    with pytest.raises(ConfigError, match="theta_neg must be below theta_pos"):
        dual_threshold(make_batch(), theta_pos=theta[0], theta_neg=theta[1])


def test_dual_threshold_without_filter_needs_labels(make_batch):
    with pytest.raises(ConfigError, match="needs label"):
        dual_threshold(make_batch(label=None), theta_pos=None, theta_neg=None)
