"""Probes on vectors whose answer is known: aliases, analogies, labels that are or are not there, rotated copies."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.diagnostics.probes import alias_auc, analogy_accuracy, centred_alignment, probe_auc
from flipkd.errors import DataError

RANDOM = np.random.default_rng(0)


def test_aliases_that_share_a_vector_are_found_and_random_vectors_are_at_chance():
    groups = [str(k) for k in range(30) for _ in range(3)]
    centres = np.eye(30)[[int(group) for group in groups]]
    assert alias_auc(centres, groups)["roc_auc"] == 1.0
    noise = RANDOM.normal(size=(90, 16))
    found = alias_auc(noise / np.linalg.norm(noise, axis=1, keepdims=True), groups)
    assert found["aliases"] == 90
    assert abs(found["roc_auc"] - 0.5) < 0.15


@pytest.mark.parametrize("groups", [["a", "b", "c"], ["a", "a", "a"], []])
def test_aliases_need_a_group_of_two_and_another_one(groups):
    with pytest.raises(DataError, match="a group with two names"):
        alias_auc(np.eye(len(groups)), groups)


def test_a_common_offset_is_an_analogy_and_a_shuffled_mapping_is_none():
    source = 4 * RANDOM.normal(size=(40, 8))
    found = analogy_accuracy(source, source + RANDOM.normal(size=8))
    assert found["accuracy"] == 1.0
    assert found["shuffled"] < 0.6
    assert analogy_accuracy(source, 4 * RANDOM.normal(size=(40, 8)))["accuracy"] < 0.4
    with pytest.raises(DataError, match="at least 3 pairs, got 2"):
        analogy_accuracy(source[:2], source[:2])


def test_a_probe_finds_a_label_that_is_there_and_none_that_is_not():
    states, label = RANDOM.normal(size=(200, 6)), RANDOM.integers(2, size=200)
    states[:, 2] += 3 * label
    folds = np.arange(200) % 5
    assert probe_auc(states, label, folds=folds) > 0.95
    assert abs(probe_auc(states, RANDOM.permutation(label), folds=folds) - 0.5) < 0.2


def test_centred_alignment_is_one_for_a_rotated_shifted_and_scaled_copy_and_low_for_noise():
    states = RANDOM.normal(size=(100, 5))
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(5, 5)))
    assert centred_alignment(states, 3 * states @ rotation + 7) == pytest.approx(1.0)
    assert centred_alignment(states, RANDOM.normal(size=(100, 5))) < 0.2
    assert centred_alignment(states, np.ones((100, 3))) == 0.0
