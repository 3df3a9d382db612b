"""Agreement of annotators: Cohen's kappa against its formula, and the label that votes make."""

from dataclasses import replace

import numpy as np
import pytest
from review_queues import filled_queue

from flipkd.review.agreement import annotators, final_label, in_conflict, kappas


@pytest.fixture
def pair(tmp_path):
    with filled_queue(tmp_path / "q.db", count=1) as queue:
        return queue.pairs()[0]


@pytest.mark.parametrize(
    "votes, majority, unanimous",
    [
        ([], None, None),
        ([None], None, None),
        ([1], 1, 1),
        ([0, None], 0, 0),
        ([1, 0], None, None),
        ([1, 1, 0], 1, None),
        ([0, 0, 1, None], 0, None),
        ([1, 1, 0, 0], None, None),
    ],
)
def test_final_label_is_the_majority_or_unanimous(pair, votes, majority, unanimous):
    pair = replace(pair, votes={f"a{number}": label for number, label in enumerate(votes)})
    assert final_label(pair) == majority
    assert final_label(pair, unanimous=True) == unanimous
    assert in_conflict(pair) == ({0, 1} <= set(votes))


def test_kappa_is_that_of_its_formula_on_pairs_that_both_labelled(pair):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, (60, 2))
    labels[:40, 1] = labels[:40, 0]
    pairs = [replace(pair, votes={"ann": int(a), "bob": int(b)}) for a, b in labels]
    pairs += [replace(pair, votes={"ann": 1}), replace(pair, votes={"ann": 1, "bob": None, "cat": 1})]
    observed = np.mean(labels[:, 0] == labels[:, 1])
    first, second = labels.mean(axis=0)
    expected = first * second + (1 - first) * (1 - second)
    both, with_cat = kappas(pairs)
    assert (both["annotators"], both["pairs"]) == (["ann", "bob"], 60)
    assert both["equal"] == pytest.approx(observed)
    assert both["kappa"] == pytest.approx((observed - expected) / (1 - expected))
    assert with_cat == {"annotators": ["ann", "cat"], "pairs": 1, "equal": 1.0, "kappa": None}
    assert annotators(pairs)["bob"] == {
        "match": int(labels[:, 1].sum()),
        "no_match": 60 - int(labels[:, 1].sum()),
        "skipped": 1,
    }
