"""Blends: the stored scores of several systems as one, with weights that validation fits; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flipkd.evaluate.combine import COMBINED
from flipkd.files import read_json
from flipkd.stages.bench import Bench
from flipkd.stages.pairs import labels_of
from flipkd.stages.student_scores import combined
from flipkd.stages.units import SCORES_HASH, Split, read_scores, result_path, scores_path

SINGLE = ("answer", "cosine", "score")  # kinds that are no sum or mean of others


def blend(bench: Bench) -> dict[str, Split]:
    """The weighted sum of all scores of the parts that are not sums or means themselves.

    The parts must be there with the same seed. Raises ArtefactError for scores that cannot be read.
    """
    columns = {}
    for part in bench.entry.parts:
        result = result_path(bench.config.output_dir, bench.config.data, part.name, bench.seed)
        digest = read_json(result).get(SCORES_HASH)
        for kind, split in read_scores(scores_path(result), sha256=digest).items():
            if kind in SINGLE:
                columns[f"{part.name} {kind}"] = split
    return {COMBINED: combined(columns, labels_of(bench.sets["validation"]))}


def is_current(bench: Bench, stored: Mapping[str, Split]) -> bool:
    """Whether these scores are what the parts give now: a part may have been computed anew on another machine."""
    found = blend(bench)
    return found.keys() == stored.keys() and all(
        np.array_equal(getattr(found[kind], name), getattr(stored[kind], name))
        for kind in found
        for name in ("validation", "test")
    )
