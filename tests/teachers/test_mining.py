"""mine_pairs: new pairs of near texts, without duplicates."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flipkd.teachers import mining
from flipkd.teachers.mining import NEIGHBOURS, mine_pairs

LEFT = ["a", "b", "a", "c"]
RIGHT = ["x", "y", "z", "a"]
VECTORS = {
    "a": [1, 0, 0],
    "b": [0, 1, 0],
    "c": [0, 0, 1],
    "x": [0.6, 0.8, 0],
    "y": [0, 1, 0],
    "z": [0.8, 0, 0.6],
}


def mined(left, right, vectors, **changes):
    sides = [np.array([vectors[text] for text in side], np.float32) for side in (left, right)]
    rows = mine_pairs(left, right, *sides, **{"count": 1000, "seed": 0} | changes)
    return [(left[i], right[j]) for i, j in zip(*(side.tolist() for side in rows), strict=True)]


def test_mine_pairs_of_few_texts_gives_each_new_pair_once():
    # a-x, b-y, a-z, c-a are given, a-c is c-a the other way round, a-a is a text with itself
    assert sorted(mined(LEFT, RIGHT, VECTORS)) == [("a", "y"), ("b", "a"), ("b", "x"), ("b", "z")] + [
        ("c", "x"),
        ("c", "y"),
        ("c", "z"),
    ]


def test_mine_pairs_uses_nearest_texts():
    many = [f"r{n}" for n in range(40)]
    angle = np.linspace(0.01, 1.5, 40)
    vectors = {"q": [1.0, 0.0], **{name: [np.cos(t), np.sin(t)] for name, t in zip(many, angle, strict=True)}}
    assert mined(["q"] * 40, many, vectors) == []  # every pair of q is given
    left = ["q", *["r39"] * 39]
    assert {b for a, b in mined(left, many, vectors) if a == "q"} == set(many[1:NEIGHBOURS])


def test_mine_pairs_depends_on_count_and_seed():
    assert len(mined(LEFT, RIGHT, VECTORS, count=3)) == 3
    assert mined(LEFT, RIGHT, VECTORS) == mined(LEFT, RIGHT, VECTORS)
    assert mined(LEFT, RIGHT, VECTORS, seed=1) != mined(LEFT, RIGHT, VECTORS)
    assert mined([], [], VECTORS) == []


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=12), st.data())
def test_mine_pairs_excludes_given_pairs_and_duplicates(pairs, data):
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    numbers = data.draw(arrays(np.float32, (6, 3), elements=st.floats(-1, 1, width=32)))
    units = numbers / np.maximum(np.linalg.norm(numbers, axis=1, keepdims=True), 1e-6)
    found = mined(left, right, dict(zip("abcdef", units.tolist(), strict=True)))
    assert len(set(found)) == len(found)
    assert not set(found) & (set(pairs) | {(b, a) for a, b in pairs} | {(a, a) for a, _ in pairs})


def test_mine_pairs_samples_left_texts(monkeypatch):
    monkeypatch.setattr(mining, "LEFT_TEXTS", 5)
    left, right = [f"l{i}" for i in range(20)], [f"r{i}" for i in range(20)]
    generator = np.random.default_rng(0)
    vectors = [
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in generator.normal(size=(2, 20, 4)).astype(np.float32)
    ]
    first = mine_pairs(left, right, *vectors, count=100, seed=1)
    assert 1 < len(set(first[0].tolist())) <= 5
    again, other = (
        mine_pairs(left, right, *vectors, count=100, seed=1),
        mine_pairs(left, right, *vectors, count=100, seed=2),
    )
    assert [part.tolist() for part in again] == [part.tolist() for part in first]
    assert set(other[0].tolist()) != set(first[0].tolist())
