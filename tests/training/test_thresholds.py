"""The dual threshold and what else the margin losses are told, from the teacher's own scores."""

from dataclasses import replace

import numpy as np
import pytest

from flipkd.data.pair_table import PairTable, TeacherSignal
from flipkd.errors import ConfigError
from flipkd.training.thresholds import random_thresholds, teacher_spread, teacher_thresholds


def test_teacher_thresholds_are_quantiles_of_each_class():
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.2, 0.3, 0.4, 0.0, 0.99], np.float32)
    label = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0, -1])
    theta_pos, theta_neg = teacher_thresholds(scores, label, quantile=0.25)
    assert (theta_pos, theta_neg) == pytest.approx((0.6, 0.3))


def test_teacher_thresholds_that_cross_move_to_their_middle():
    scores = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    theta_pos, theta_neg = teacher_thresholds(scores, np.array([1, 1, 0, 0]), quantile=0.2)
    assert theta_neg < theta_pos
    assert theta_pos - theta_neg < 0.01
    assert (theta_pos + theta_neg) / 2 == pytest.approx((0.12 + 0.88) / 2)


def test_teacher_thresholds_refuse_one_class():
    with pytest.raises(ConfigError, match="both classes"):
        teacher_thresholds(np.array([0.1, 0.2], np.float32), np.array([1, 1]), quantile=0.2)


def overlapping(count=400, shift=0.3, seed=0):
    """Scores of `count` pairs of each class whose classes overlap, and unlabelled ones far away."""
    random = np.random.default_rng(seed)
    scores = np.concatenate([random.normal(shift, 0.3, count), random.normal(0, 0.3, count), random.normal(9, 1, 50)])
    return scores.astype(np.float32), np.repeat([1, 0, -1], [count, count, 50])


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("band", [0.1, 0.3, 0.5])
def test_filter_band_has_its_share_of_the_labelled_pairs(shift, band):
    scores, label = overlapping(shift=shift)
    theta_pos, theta_neg = teacher_thresholds(scores, label, quantile=0.2, band=band)
    assert theta_neg < theta_pos
    labelled = scores[label >= 0]
    between = ((theta_neg < labelled) & (labelled < theta_pos)).mean()
    assert between >= band
    # Each bound is the same quantile of its own class.
    beyond = (scores[label == 1] < theta_pos).mean(), (scores[label == 0] > theta_neg).mean()
    assert beyond[0] == pytest.approx(beyond[1], abs=0.01)
    assert beyond[0] >= 0.19
    if beyond[0] > 0.21:
        assert between == pytest.approx(band, abs=0.01)


@pytest.mark.parametrize("band", [0.1, 0.2, 0.3, 0.4])
def test_filter_band_excludes_pairs_on_a_bound(band):
    scores, label = overlapping()
    scores = scores.round(1)  # many pairs have the score of a bound
    theta_pos, theta_neg = teacher_thresholds(scores, label, quantile=0.2, band=band)
    labelled = scores[label >= 0]
    assert ((labelled > theta_neg + 1e-6) & (labelled < theta_pos - 1e-6)).mean() >= band


def test_teacher_thresholds_of_separated_classes_have_a_filter_band():
    scores, label = overlapping(shift=3.0)
    usual = teacher_thresholds(scores, label, quantile=0.2)
    assert teacher_thresholds(scores, label, quantile=0.2, band=0.1) == pytest.approx(usual)


def test_teacher_thresholds_refuse_an_impossible_share_of_the_filter_band():
    scores = np.full(20, 0.5, np.float32)
    with pytest.raises(ConfigError, match=r"filter_band=0.1: at most 0.00 of the labelled pairs"):
        teacher_thresholds(scores, np.arange(20) % 2, quantile=0.2, band=0.1)


def grid_table(count=60, *, seed=0):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(2, count, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    left, right = [f"a {i}" for i in range(count)], [f"b {i % 40}" for i in range(count)]
    vectors[1] = vectors[1][np.arange(count) % 40]
    signal = TeacherSignal(left=vectors[0], right=vectors[1])
    return PairTable(left=left, right=right, label=np.ones(count, np.int64), teacher=signal)


def test_random_thresholds_are_quantiles_of_the_valid_cells():
    table = grid_table()
    left, right = table.teacher.left, table.teacher.right
    scores = [
        float(left[i] @ right[j]) for i in range(60) for j in range(60) if i != j and table.right[i] != table.right[j]
    ]
    expected = np.quantile(scores, [0.9, 0.99])
    assert random_thresholds(table, quantiles=[0.9, 0.99], seed=0) == pytest.approx(expected[::-1], abs=1e-6)


def test_random_thresholds_draw_rows_by_the_seed(monkeypatch):
    monkeypatch.setattr("flipkd.training.thresholds.MAX_ROWS", 20)
    found = [random_thresholds(grid_table(), quantiles=[0.5, 0.9], seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("quantiles", [[0.9, 0.9], [0.99, 0.9], [-0.1, 0.5], [0.5, 1.1]])
def test_random_thresholds_refuse_quantiles_that_do_not_increase(quantiles):
    with pytest.raises(ConfigError, match="two increasing numbers"):
        random_thresholds(grid_table(), quantiles=quantiles, seed=0)


def test_random_thresholds_need_embeddings_and_two_pairs():
    table = grid_table()
    with pytest.raises(ConfigError, match="need the embeddings of a bi-encoder"):
        random_thresholds(
            replace(table, teacher=TeacherSignal(score=table.teacher.pair_scores())), quantiles=[0.5, 0.9], seed=0
        )
    with pytest.raises(ConfigError, match="two pairs whose texts differ"):
        random_thresholds(grid_table(1), quantiles=[0.5, 0.9], seed=0)


def test_teacher_spread_has_std_and_ends():
    scores, label = overlapping()
    found = teacher_spread(scores, label)
    assert found["teacher_std"] == pytest.approx(float(np.std(scores[label >= 0])))
    assert found["teacher_low"] == pytest.approx(float(np.quantile(scores[label == 0], 0.05)))
    assert found["teacher_high"] == pytest.approx(float(np.quantile(scores[label == 1], 0.95)))


def test_teacher_spread_leaves_out_what_the_pairs_do_not_determine():
    scores = np.array([0.5, 0.5, 0.9], np.float32)
    assert teacher_spread(scores, np.array([1, 1, -1])) == {}
    assert set(teacher_spread(scores, np.array([1, 1, 1]))) == {"teacher_std"}
    assert set(teacher_spread(scores, np.array([0, 1, 0]))) == {"teacher_std"}, (
        "these negatives lie above the positives"
    )
