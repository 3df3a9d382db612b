"""cut_folds: folds share no text if possible, and what they share otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from flipkd.data.folds import cut_folds
from flipkd.errors import DataError


def data(rows, **more):
    return Dataset.from_dict(
        {name: [row[i] for row in rows] for i, name in enumerate(("text1", "text2", "label"))} | more
    )


def texts(dataset, rows):
    part = dataset.select(rows)
    return {text.casefold() for side in ("text1", "text2") for text in part[side][:]}


def shared(dataset, number):
    """Texts that are in more than one fold."""
    homes = [texts(dataset, np.flatnonzero(number == fold)) for fold in range(number.max() + 1)]
    return {text for i, own in enumerate(homes) for text in own if any(text in other for other in homes[i + 1 :])}


def test_cut_folds_keeps_connected_texts_together():
    rows = [(f"a{i // 4}", f"B{i}" if i % 2 else f"b{i + 1}", int(i % 4 == 0)) for i in range(200)]
    dataset = data(rows)
    folds = cut_folds(dataset, 5)
    assert (folds.apart_by, folds.seen) == ("texts", 0)
    assert shared(dataset, folds.number) == set()
    assert np.bincount(folds.number).tolist() == [40] * 5
    assert [np.array(dataset["label"])[folds.number == fold].sum() for fold in range(5)] == [10] * 5
    assert folds.number.tolist() == cut_folds(dataset, 5).number.tolist()
    assert folds.number.tolist() != cut_folds(dataset, 5, seed=1).number.tolist()


def test_cut_folds_keeps_groups_together():
    rows = [(f"a{i}", f"b{i}", i % 2) for i in range(60)]
    dataset = data(rows, group=[str(i % 10) for i in range(60)])
    number = cut_folds(dataset, 3).number
    assert all(len({number[i] for i in range(60) if i % 10 == group}) == 1 for group in range(10))


def test_cut_folds_splits_one_block_by_the_better_side():
    # 12 questions with the same 10 answers each: one block. Apart by text1, every answer is seen elsewhere.
    rows = [(f"q{q}", f"d{d}", int(q % 10 == d)) for q in range(12) for d in range(10)]
    rows += [(f"q{q}", f"own{q} {n}", n % 2) for q in range(12) for n in range(5)]
    folds = cut_folds(data(rows), 4)
    assert folds.apart_by == "text1"
    assert folds.seen == 120
    questions = np.array([row[0] for row in rows])
    assert all(len(set(folds.number[questions == question])) == 1 for question in set(questions))
    turned = cut_folds(data([(b, a, label) for a, b, label in rows]), 4)
    assert (turned.apart_by, turned.seen) == ("text2", 120)


def test_cut_folds_keeps_a_pair_together_in_both_orders():
    rows = [(f"t{i}", f"t{(i + shift) % 40}", int(shift == 1)) for i in range(40) for shift in (1, 2)]
    rows += [(b, a, label) for a, b, label in rows]
    folds = cut_folds(data(rows), 4)
    assert folds.apart_by == "pairs", "through its two orders each pair ties both sides into one block"
    assert folds.number[:80].tolist() == folds.number[80:].tolist()
    assert folds.seen > 0


def test_cut_folds_refuses_too_few_rows():
    with pytest.raises(DataError, match="3 labelled rows are too few for 5 folds"):
        cut_folds(data([("a", "b", 1), ("c", "d", 0), ("e", "f", 1)]), 5)
    with pytest.raises(DataError, match="the rows outside it both labels"):
        cut_folds(data([("a", "b", 1), *((f"c{i}", f"d{i}", 0) for i in range(20))]), 2)
