"""Blends: weighted sums of the stored scores of several systems, with weights fitted on validation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flipkd.comparison.run import Run
from flipkd.comparison.scores import HELD_OUT, SCORES_HASH, Split, read_scores, result_path, scores_path
from flipkd.comparison.student_scores import combined
from flipkd.data.labels import labels_of
from flipkd.evaluate.combine import COMBINED
from flipkd.files import read_json

SINGLE = ("answer", "cosine", "score")  # kinds that are not a sum or a mean of other kinds


def blend(run: Run) -> dict[str, Split]:
    """Compute the weighted sum of all single scores of the parts; sums and means among them are not used.

    The parts must have results with the same seed. Raises ArtefactError for unreadable scores.
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
    """Return whether stored scores of a blend match its parts: a part may have been recomputed on another machine."""
    found = blend(run)
    return found.keys() == stored.keys() and all(
        np.array_equal(getattr(found[kind], name), getattr(stored[kind], name)) for kind in found for name in HELD_OUT
    )
