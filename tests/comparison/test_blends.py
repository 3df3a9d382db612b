"""Blends of stored scores: the kinds that count, and outdated scores."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.comparison.blends import blend, is_current
from flipkd.comparison.entries import Entry
from flipkd.comparison.run import Run
from flipkd.comparison.scores import Split, result_path, save_scores, scores_path
from flipkd.comparison.student_scores import combined
from flipkd.comparison.systems import SYSTEMS, system_named
from flipkd.config import CompareConfig
from flipkd.data.labels import labels_of
from flipkd.data.pairs import read_pairs
from flipkd.errors import ArtefactError
from flipkd.files import write_json

KINDS = {"flipped": ("answer", "cosine", "combined", "answer_symmetric", "with_teacher"), "plain": ("answer",)}


@pytest.fixture
def run(pair_files, tmp_path) -> Run:
    """A run of flipped+plain, whose parts have noise for scores."""
    files = {f"{name}_file": path for name, path in pair_files.items()}
    config = CompareConfig.check({**files, "output_dir": str(tmp_path), "data": "tiny"})
    sets = {name: read_pairs(path) for name, path in pair_files.items()}
    for name in KINDS:
        save(config, name, sets, seed=len(name))
    parts = tuple(Entry(name, SYSTEMS[name]) for name in KINDS)
    return Run(config, sets, Entry("flipped+plain", system_named("flipped+plain"), parts=parts), 3)


def save(config, name, sets, *, seed):
    random = np.random.default_rng(seed)
    labels = [labels_of(sets[split]) for split in ("validation", "test")]
    scores = {kind: Split(*(label + random.normal(size=len(label)) for label in labels)) for kind in KINDS[name]}
    path = result_path(config.output_dir, "tiny", name, 3)
    write_json(path, {"scores_sha256": save_scores(scores_path(path), scores)})
    return scores


def test_blend_uses_all_single_scores_of_its_parts(run):
    plain, flipped = (save(run.config, name, run.sets, seed=9) for name in ("plain", "flipped"))
    columns = {"a": flipped["answer"], "b": flipped["cosine"], "c": plain["answer"]}
    expected = combined(columns, labels_of(run.sets["validation"]))
    assert blend(run)["combined"].test == pytest.approx(expected.test)


def test_is_current_detects_changed_parts(run):
    stored = blend(run)
    assert is_current(run, stored)
    assert not is_current(run, {"combined": Split(stored["combined"].validation, stored["combined"].test + 1)})
    save(run.config, "plain", run.sets, seed=10)
    assert not is_current(run, stored)


def test_blend_needs_parts_of_the_same_seed(run):
    run.seed = 4
    with pytest.raises(ArtefactError, match="flipped-seed4"):
        blend(run)
