"""Stratified mining: equal shares of the bins of the teacher's probability, and new pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flipkd.evaluate.calibration import Calibration
from flipkd.teachers import stratified_mining
from flipkd.teachers.stratified_mining import BINS, mine_stratified, sample_stratified


def bins_of(probability):
    return np.bincount(np.minimum((np.asarray(probability) * BINS).astype(int), BINS - 1), minlength=BINS)


def test_sample_stratified_takes_equal_shares_and_all_of_a_small_bin():
    probability = np.concatenate([np.full(5, 0.05), np.full(500, 0.55), np.full(100, 1.0)])
    rows = sample_stratified(probability, 105)
    assert bins_of(probability[rows]).tolist() == [5, 0, 0, 0, 0, 50, 0, 0, 0, 50]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert sample_stratified(probability, 105).tolist() == rows.tolist()
    assert sample_stratified(probability, 105, seed=1).tolist() != rows.tolist()
    assert sample_stratified(probability, 10**6).tolist() == list(range(605))
    assert sample_stratified(np.zeros(0), 3).tolist() == sample_stratified(probability, 0).tolist() == []


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(0, 70))
def test_sample_stratified_bins_differ_by_at_most_one(values, count):
    probability = np.array(values)
    rows = sample_stratified(probability, count)
    assert len(rows) == min(count, len(values))
    taken, there = bins_of(probability[rows]), bins_of(probability)
    left_over = taken < there
    if left_over.any():
        assert taken.max() - taken[left_over].min() <= 1


def circle(n, seed=0):
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    return np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)


SIGMOID = Calibration("sigmoid", 6.0, -1.0)


def mined(left, right, vectors, **changes):
    sides = [np.array([vectors[text] for text in side], np.float32) for side in (left, right)]
    rows = mine_stratified(left, right, *sides, **{"count": 1000, "calibration": SIGMOID} | changes)
    return [(left[i], right[j]) for i, j in zip(*(side.tolist() for side in rows), strict=True)]


def test_mine_stratified_covers_all_bins():
    texts = [f"t{i}" for i in range(80)]
    vectors = dict(zip(texts, circle(80), strict=True))
    found = mined(texts, texts, vectors, count=200)
    assert len(found) == 200
    probability = SIGMOID.apply(np.array([vectors[a] @ vectors[b] for a, b in found]))
    assert bins_of(probability).tolist() == [20] * BINS
    every = SIGMOID.apply(np.array([vectors[a] @ vectors[b] for a in texts for b in texts]))
    assert bins_of(every).min() < len(every) / BINS / 2, "drawn at random they would not be spread so"
    assert mined(texts, texts, vectors, count=200) == found
    assert mined(texts, texts, vectors, count=200, seed=1) != found


def test_mine_stratified_partners_per_text_and_bin():
    vectors = {"q": [1, 0]} | {f"t{i}": v for i, v in enumerate(circle(300, seed=1).tolist())}
    right = [f"t{i}" for i in range(300)]
    for count, each in ((1, 1), (2, 2), (20, 2)):
        monkeyed = mined(["q"], right, vectors, count=count)
        assert len(monkeyed) == count
        found = bins_of(SIGMOID.apply(np.array([vectors[b][0] for _, b in monkeyed])))
        assert found.max() <= each
    of_two = mined(["q", "t0"], right, vectors, count=1000)
    assert max(bins_of(SIGMOID.apply(np.array([vectors[b][0] for a, b in of_two if a == "q"])))) > 2


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=12), st.integers(0, 5))
def test_mine_stratified_excludes_given_pairs_and_duplicates(pairs, seed):
    vectors = dict(zip("abcdef", circle(6, seed=seed).tolist(), strict=True))
    found = mined("abcdef", "abcdef", vectors, given=pairs)
    both = {frozenset(pair) for pair in found}
    assert len(both) == len(found)
    assert all(len(pair) == 2 for pair in both)
    assert not both & {frozenset(pair) for pair in pairs}


def test_excluded_partner_is_replaced_by_another_of_its_bin():
    vectors = {"a": [1, 0], "b": [1, 0], "c": [1, 0]}
    for seed in range(8):
        assert mined(["a"], ["b", "c"], vectors, given=[("b", "a")], seed=seed) == [("a", "c")]


def test_mine_stratified_samples_left_texts_and_chunks_change_nothing(monkeypatch):
    texts = [f"t{i}" for i in range(40)]
    vectors = dict(zip(texts, circle(40), strict=True))
    whole = {frozenset(pair) for pair in mined(texts, texts, vectors)}
    monkeypatch.setattr(stratified_mining, "CELLS_AT_ONCE", 100)
    assert {frozenset(pair) for pair in mined(texts, texts, vectors)} == whole
    monkeypatch.setattr(stratified_mining, "CELLS", 40 * 5)
    assert len({a for a, _ in mined(texts, texts, vectors)}) <= 5
    assert mined([], texts, vectors) == mined(texts, texts, vectors, count=0) == []


def test_mine_stratified_bins_depend_on_the_calibration():
    flat = Calibration("sigmoid", 1e-3, 0.0)  # the teacher knows nothing: all in the two middle bins
    vectors = {f"t{i}": v for i, v in enumerate(circle(50).tolist())}
    found = mined(["t0"], list(vectors), vectors, calibration=flat)
    assert set(
        np.flatnonzero(bins_of(flat.apply(np.array([vectors["t0"] @ np.array(vectors[b]) for _, b in found]))))
    ) <= {4, 5}
