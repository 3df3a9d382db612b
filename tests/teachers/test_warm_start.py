"""graded_pairs: which pairs, and the bi-encoder's probabilities as labels."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.evaluate import fit_calibration
from flipkd.teachers.bi_encoder import load_bi_encoder
from flipkd.teachers.warm_start import graded_pairs


@pytest.fixture
def teacher(make_bi_encoder):
    return load_bi_encoder(make_bi_encoder(), device="cpu")


def test_graded_pairs_labels_are_the_bi_encoder_probability(teacher, learnable):
    found = graded_pairs(teacher, learnable, count=90)

    def cosines(pairs):
        return np.einsum("nd,nd->n", teacher.embed(pairs["text1"][:]), teacher.embed(pairs["text2"][:]))

    fit = fit_calibration(cosines(learnable), learnable["label"][:], method="sigmoid")
    expected = [1 / (1 + np.exp(-(fit.slope * cosine + fit.intercept))) for cosine in cosines(found)]
    assert found["label"][:] == pytest.approx(expected, abs=1e-4)
    assert len(set(found["label"][:])) > 2, "not the labels of the pairs"


def test_graded_pairs_are_a_third_given_pairs_without_new_texts(teacher, learnable):
    given = list(zip(learnable["text1"][:], learnable["text2"][:], strict=True))
    found = graded_pairs(teacher, learnable, count=90)
    pairs = list(zip(found["text1"][:], found["text2"][:], strict=True))
    assert len(pairs) == 90
    assert set(pairs[:30]) <= set(given)
    assert not set(pairs[30:60]) & set(given), "texts that it finds close, which are no pair yet"
    assert {a for a, _ in pairs} <= {a for a, _ in given}
    assert {b for _, b in pairs} <= {b for _, b in given}
    many = graded_pairs(teacher, learnable, count=3000)
    assert len(many) == 3000, "drawn ones take the place of those that there are too few of"


def test_graded_pairs_depend_on_the_seed(teacher, learnable):
    one, same, other = (graded_pairs(teacher, learnable, count=60, seed=seed).to_dict() for seed in (0, 0, 1))
    assert one == same != other
