"""The scores of a student by kind on the validation and the test pairs, in one order of the texts or in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.comparison.scores import Split
from flipkd.data.labels import labels_of
from flipkd.errors import ArtefactError
from flipkd.evaluate.combine import COMBINED, SYMMETRIC, fit_weights, weighted_sum
from flipkd.student.model import Student
from flipkd.student.scoring import score_pairs


def student_scores(
    student: Student, held_out: Mapping[str, Any], *, return_embeddings: bool, symmetric: bool
) -> dict[str, Split]:
    """Its answer; with `return_embeddings` also its cosine and both combined; with `symmetric` also the means over both orders.

    held_out: the pairs of "validation" and "test".
    """
    given = _read(student, held_out, return_embeddings=return_embeddings, turned=False)
    labels = labels_of(held_out["validation"])
    means: dict[str, Split] = {}
    if symmetric:
        turned = _read(student, held_out, return_embeddings=return_embeddings, turned=True)
        means = {kind: _mean(given[kind], turned[kind]) for kind in given}
        if return_embeddings:  # with the weights of the pairs as given, as a matcher of both orders has them
            means[COMBINED] = combined(given, labels, applied_to=means)
    if return_embeddings:
        given[COMBINED] = combined(given, labels)
    return given | {kind + SYMMETRIC: split for kind, split in means.items()}


def combined(
    scores: Mapping[str, Split], labels: NDArray[np.int64], *, applied_to: Mapping[str, Split] | None = None
) -> Split:
    """The sum of several scores, or of others of the same names, with weights that validation fits."""
    weights = fit_weights({kind: split.validation for kind, split in scores.items()}, labels)
    summed = applied_to or scores
    return Split(
        weighted_sum({kind: split.validation for kind, split in summed.items()}, weights),
        weighted_sum({kind: split.test for kind, split in summed.items()}, weights),
    )


def _mean(one: Split, other: Split) -> Split:
    return Split((one.validation + other.validation) / 2, (one.test + other.test) / 2)


def _read(student: Student, held_out: Mapping[str, Any], *, return_embeddings: bool, turned: bool) -> dict[str, Split]:
    """Answer, and cosine when asked for, of the pairs as given or turned round."""
    found = []
    for name in ("validation", "test"):
        sides = [held_out[name][side][:] for side in (("text2", "text1") if turned else ("text1", "text2"))]
        found.append(score_pairs(student, *sides, return_embeddings=return_embeddings, progress=name))
    scores = {"answer": Split(*(f.answer.astype(np.float64) for f in found))}
    if return_embeddings:
        cosines = [f.cosine for f in found]
        if any(cosine is None for cosine in cosines):
            raise ArtefactError("the student gave no vectors; its contract names no readout place")
        scores["cosine"] = Split(*(np.asarray(cosine, np.float64) for cosine in cosines))
    return scores
