"""dual_threshold against its definition, cell by cell."""

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.selection import dual_threshold


def loop_masks(batch, theta_pos, theta_neg):
    """The two sets of cells by the definition, one cell at a time."""
    positive, negative = set(), set()
    comparable, (rows, columns) = batch.comparable.tolist(), batch.shape
    label = batch.label.tolist() if batch.label is not None else [-1] * rows
    for i in range(rows):
        for j in range(columns):
            if i != j and (batch.teacher_grid is None or not comparable[i][j]):
                continue
            score = batch.teacher[i].item() if i == j else batch.teacher_grid[i, j].item()
            if theta_pos is None:
                is_positive, is_negative = i == j and label[i] == 1, i != j or label[i] == 0
            else:
                is_positive = score >= theta_pos and not (i == j and label[i] == 0)
                is_negative = score <= theta_neg and not (i == j and label[i] == 1)
            positive |= {(i, j)} if is_positive else set()
            negative |= {(i, j)} if is_negative else set()
    return positive, negative


def cells(mask):
    return {tuple(cell) for cell in mask.nonzero().tolist()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("columns", [8, 11])
@pytest.mark.parametrize("theta", [(0.3, -0.2), (None, None)])
@pytest.mark.parametrize("given", ["grid", "pairs", "both"])
def test_equals_the_definition(make_batch, seed, columns, theta, given):
    random = torch.Generator().manual_seed(seed)
    pairs = {} if given == "grid" else {"teacher_pair": torch.rand(8, generator=random) * 2 - 1}
    without_grid = {"teacher_grid": None} if given == "pairs" else {}
    batch = make_batch(8, columns=columns, seed=seed, **pairs, **without_grid)
    positive, negative = dual_threshold(batch, theta_pos=theta[0], theta_neg=theta[1])
    assert positive.shape == negative.shape == (8, columns)
    assert (cells(positive), cells(negative)) == loop_masks(batch, *theta)
    assert not (positive & negative).any()


def test_a_label_the_teacher_contradicts_drops_the_pair_and_an_unknown_one_does_not():
    pair = torch.tensor([0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.5])
    batch = MatchBatch(teacher_pair=pair, label=torch.tensor([1, 0, -1, 1, 0, -1, 1]))
    positive, negative = dual_threshold(batch, theta_pos=0.8, theta_neg=0.2)
    assert cells(positive) == {(0, 0), (2, 2)}
    assert cells(negative) == {(4, 4), (5, 5)}


def test_thresholds_themselves_count():
    batch = MatchBatch(teacher_pair=torch.tensor([0.75, 0.25]))
    positive, negative = dual_threshold(batch, theta_pos=0.75, theta_neg=0.25)
    assert (cells(positive), cells(negative)) == ({(0, 0)}, {(1, 1)})


@pytest.mark.parametrize("theta", [(0.5, 0.5), (0.2, 0.5), (None, 0.5), (0.5, None), (float("nan"), 0.0)])
def test_thresholds_out_of_order_are_refused(make_batch, theta):
    with pytest.raises(ConfigError, match="theta_neg must lie below theta_pos"):
        dual_threshold(make_batch(), theta_pos=theta[0], theta_neg=theta[1])


def test_without_the_filter_labels_are_needed(make_batch):
    with pytest.raises(ConfigError, match="needs label"):
        dual_threshold(make_batch(label=None), theta_pos=None, theta_neg=None)
