"""Warm start of a new cross-encoder: pairs with probabilities of the bi-encoder that it is made of."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from flipkd.data.pairs import sides_of
from flipkd.evaluate.calibration import fit_calibration
from flipkd.teachers.bi_encoder import BiEncoderTeacher
from flipkd.teachers.mining import mine_pairs


def graded_pairs(teacher: BiEncoderTeacher, pairs: Dataset, *, count: int, seed: int = 0) -> Dataset:
    """Make `count` pairs of the texts of `pairs`; the label is the bi-encoder's probability of a match.

    A third are the given pairs, a third are mined (nearest texts), the rest are random texts; if the first two thirds have
    too few pairs, more are random. The probability is a sigmoid of the cosine, fitted on the labels.
    """
    left, right = sides_of(pairs)
    left_vectors, right_vectors = teacher.embed(left), teacher.embed(right)
    random = np.random.default_rng(seed)
    own = random.permutation(len(left))[: count // 3]
    near = mine_pairs(left, right, left_vectors, right_vectors, count=count // 3, seed=seed)
    drawn = random.integers(0, len(left), (2, count - len(own) - len(near[0])))
    rows, columns = (np.concatenate([own, near[side], drawn[side]]) for side in (0, 1))
    calibration = fit_calibration(
        np.einsum("nd,nd->n", left_vectors, right_vectors), np.array(pairs["label"][:]), method="sigmoid"
    )
    cosines = np.einsum("nd,nd->n", left_vectors[rows], right_vectors[columns])
    return Dataset.from_dict(
        {
            "text1": [left[row] for row in rows],
            "text2": [right[column] for column in columns],
            "label": calibration.apply(cosines).tolist(),
        }
    )
