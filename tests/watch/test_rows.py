"""ScoredRows: selections keep the columns together."""

import numpy as np

from flipkd.watch.rows import ScoredRows

ROWS = ScoredRows(score=np.arange(5.0), label=np.array([1, -1, 0, -1, 1]), text1=list("abcde"))


def test_rows_are_chosen_in_all_columns():
    chosen = ROWS.rows(np.array([4, 2]))
    assert (chosen.score.tolist(), chosen.label.tolist(), chosen.text1, chosen.text2) == (
        [4, 2],
        [1, 0],
        ["e", "c"],
        None,
    )
    assert ROWS.labelled().text1 == ["a", "c", "e"]


def test_a_sample_is_the_same_each_time_and_in_order():
    assert ROWS.sample(9) is ROWS
    found = ROWS.sample(3).score.tolist()
    assert found == sorted(found) == ROWS.sample(3).score.tolist()
    assert len(found) == 3


def test_rows_without_labels_are_unlabelled():
    assert ScoredRows(score=np.zeros(2)).label.tolist() == [-1, -1]
