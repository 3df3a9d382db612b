"""TeacherSignal and PairTable: scores, joined tables, refused inputs."""

from dataclasses import replace

import numpy as np
import pytest

from flipkd.data.pair_table import PairTable, TeacherSignal


def test_pair_scores_are_dot_products_or_the_stored_scores():
    left = np.array([[1, 0], [0.6, 0.8]], np.float32)
    signal = TeacherSignal(left=left, right=left[::-1].copy())
    assert signal.pair_scores() == pytest.approx([0.6, 0.6])
    assert TeacherSignal(score=np.array([3.0], np.float32)).pair_scores() == [3.0]
    with pytest.raises(ValueError, match="embeddings of both sides"):
        TeacherSignal().pair_scores()
    honest = signal.with_out_of_fold(np.array([np.nan, 0.25], np.float32))
    assert honest.pair_scores() == pytest.approx([0.6, 0.25])
    assert honest.out_of_fold.tolist() == [False, True]
    assert honest.left is left
    second = honest.rows(np.array([1]))
    assert (second.score.tolist(), second.left.tolist(), second.out_of_fold.tolist()) == (
        [0.25],
        left[[1]].tolist(),
        [True],
    )


def test_with_unlabelled_appends_pairs_and_teacher_values():
    left, right = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[1, 2, 0]]
    signal = TeacherSignal(left=left, right=right)
    table = PairTable(left=["a", "b", "c"], right=["x", "y", "z"], label=np.array([1, 0, 1]), teacher=signal)
    more = TeacherSignal(left=left[[2, 0]], right=right[[1, 1]])
    wider = table.with_unlabelled(["c", "a"], ["y", "y"], more)
    assert list(zip(wider.left, wider.right, wider.label.tolist(), strict=True)) == [
        ("a", "x", 1), ("b", "y", 0), ("c", "z", 1), ("c", "y", -1), ("a", "y", -1)
    ]  # fmt: skip
    assert wider.teacher.score is None
    assert wider.teacher.pair_scores().tolist() == [0, 0, 0, left[2] @ right[1], left[0] @ right[1]]
    honest = replace(table, teacher=signal.with_out_of_fold(np.array([0.5, np.nan, 0.75], np.float32)))
    wider = honest.with_unlabelled(["c", "a"], ["y", "y"], more)
    assert wider.teacher.pair_scores().tolist() == [0.5, 0, 0.75, left[2] @ right[1], left[0] @ right[1]]
    assert wider.teacher.out_of_fold.tolist() == [True, False, True, False, False]
    assert wider.teacher.left.tolist() == left[[0, 1, 2, 2, 0]].tolist()
    scored = replace(table, teacher=TeacherSignal(score=np.array([1, 2, 3], np.float32)))
    wider = scored.with_unlabelled(["c"], ["y"], TeacherSignal(score=np.array([4], np.float32)))
    assert wider.teacher.pair_scores().tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="one of the two TeacherSignals has embeddings"):
        scored.with_unlabelled(["c", "a"], ["y", "y"], more)
    with pytest.raises(ValueError, match="need a teacher"):
        replace(table, teacher=None).with_unlabelled(["c"], ["y"], more)


def test_labelled_keeps_the_texts_labels_weights_and_teacher_values_of_labelled_pairs():
    signal = TeacherSignal(score=np.array([1, 2, 3], np.float32))
    table = PairTable(left=["a", "b", "c"], right=["x", "y", "z"], label=np.array([1, -1, 0]), teacher=signal)
    known = replace(table, weight=np.array([4, 5, 6], np.float32)).labelled()
    assert (known.left, known.right, known.label.tolist()) == (["a", "c"], ["x", "z"], [1, 0])
    assert (known.teacher.score.tolist(), known.weight.tolist()) == ([1, 3], [4, 6])
    alone = replace(table, teacher=None).labelled()
    assert (len(alone), alone.teacher, alone.weight) == (2, None, None)
