"""Blends: the weighted sum of several systems' stored scores, with weights fitted on validation; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flipkd.comparison.run import Run
from flipkd.comparison.scores import SCORES_HASH, Split, read_scores, result_path, scores_path
from flipkd.comparison.student_scores import combined
from flipkd.data.labels import labels_of
from flipkd.evaluate.combine import COMBINED
from flipkd.files import read_json

SINGLE = ("answer", "cosine", "score")  # kinds that are no sum or mean of others


def blend(run: Run) -> dict[str, Split]:
    """The weighted sum of all scores of the parts that are not sums or means themselves.

    The parts must be there with the same seed. Raises ArtefactError for scores that cannot be read.
    """
    columns = {}
    for part in run.entry.parts:
        result = result_path(run.config.output_dir, run.config.data, part.name, run.seed)
        digest = read_json(result).get(SCORES_HASH)
        for kind, split in read_scores(scores_path(result), sha256=digest).items():
            if kind in SINGLE:
                columns[f"{part.name} {kind}"] = split
    return {COMBINED: combined(columns, labels_of(run.sets["validation"]))}


def is_current(run: Run, stored: Mapping[str, Split]) -> bool:
    """Whether these scores are what the parts give now: a part may have been computed anew on another machine."""
    found = blend(run)
    return found.keys() == stored.keys() and all(
        np.array_equal(getattr(found[kind], name), getattr(stored[kind], name))
        for kind in found
        for name in ("validation", "test")
    )
