"""Scores of a student by kind on the validation and the test pairs, in one order of the texts or in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.comparison.scores import HELD_OUT, Split
from flipkd.data.labels import labels_of
from flipkd.data.pairs import sides_of
from flipkd.errors import ArtefactError
from flipkd.evaluate.combine import COMBINED, SYMMETRIC, fit_weights, weighted_sum
from flipkd.student.model import Student
from flipkd.student.scoring import score_pairs


def student_scores(
    student: Student, held_out: Mapping[str, Any], *, return_embeddings: bool, symmetric: bool
) -> dict[str, Split]:
    """Return the answer scores; with `return_embeddings` also cosine and combined; with `symmetric` also means over both orders.

    held_out: the pairs of "validation" and "test".
    """
    given = _score_pairs(student, held_out, return_embeddings=return_embeddings, swapped=False)
    labels = labels_of(held_out["validation"])
    means: dict[str, Split] = {}
    if symmetric:
        swapped = _score_pairs(student, held_out, return_embeddings=return_embeddings, swapped=True)
        means = {kind: _mean(given[kind], swapped[kind]) for kind in given}
        if return_embeddings:  # with the weights fitted on the given order, as in a symmetric matcher
            means[COMBINED] = combined(given, labels, applied_to=means)
    if return_embeddings:
        given[COMBINED] = combined(given, labels)
    return given | {kind + SYMMETRIC: split for kind, split in means.items()}


def combined(
    scores: Mapping[str, Split], labels: NDArray[np.int64], *, applied_to: Mapping[str, Split] | None = None
) -> Split:
    """Return the sum of several scores with weights fitted on validation; `applied_to`: other scores with the same names."""
    weights = fit_weights({kind: split.validation for kind, split in scores.items()}, labels)
    summed = applied_to or scores
    columns = ({kind: getattr(split, name) for kind, split in summed.items()} for name in HELD_OUT)
    return Split(*(weighted_sum(values, weights) for values in columns))


def _mean(one: Split, other: Split) -> Split:
    return Split((one.validation + other.validation) / 2, (one.test + other.test) / 2)


def _score_pairs(
    student: Student, held_out: Mapping[str, Any], *, return_embeddings: bool, swapped: bool
) -> dict[str, Split]:
    """Score the pairs in the given or the swapped order: answer, and cosine if `return_embeddings`."""
    found = []
    for name, pairs in held_out.items():
        left, right = sides_of(pairs)
        sides = (right, left) if swapped else (left, right)
        found.append(score_pairs(student, *sides, return_embeddings=return_embeddings, progress=name))
    scores = {"answer": Split(*(f.answer.astype(np.float64) for f in found))}
    if return_embeddings:
        cosines = [f.cosine for f in found]
        if any(cosine is None for cosine in cosines):
            raise ArtefactError("the student returned no embeddings: its contract has no readout module")
        scores["cosine"] = Split(*(np.asarray(cosine, np.float64) for cosine in cosines))
    return scores
