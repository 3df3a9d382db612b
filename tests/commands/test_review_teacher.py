"""ReviewTeacher: from a teacher folder or a matcher that keeps one; scores only for pairs that have none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from review_queues import filled_queue, key_of

from flipkd.commands import review_teacher as module
from flipkd.commands.review_teacher import ReviewTeacher, load_review_teacher
from flipkd.errors import ArtefactError, ConfigError
from flipkd.teachers.stored_teacher import StoredTeacher

TEXTS = ["where is my card", "close my account"]


def test_review_teacher_has_the_scores_and_vectors_of_a_teacher_folder(taught, tmp_path):
    teacher = ReviewTeacher(taught)
    expected = StoredTeacher(taught).vectors(TEXTS)
    np.testing.assert_allclose(teacher.vectors(TEXTS), expected, atol=1e-5)
    with filled_queue(tmp_path / "q.db", count=3) as queue:
        queue.connection.execute("UPDATE pairs SET teacher_score = NULL WHERE key <> ?", [key_of(1)])
        pairs = queue.pairs()
    found = teacher.missing_scores(pairs)
    assert found.keys() == {key_of(0), key_of(2)}
    sides = [teacher.vectors([text]) for text in ("left 2", "right 2")]
    assert found[key_of(2)] == pytest.approx(float(np.sum(sides[0] * sides[1])), abs=1e-5)


def test_review_teacher_of_a_matcher_is_the_teacher_that_it_keeps(tiny_matcher, monkeypatch):
    kept = object()
    monkeypatch.setattr("flipkd.commands.matcher_teacher.kept_teacher_of", lambda folder: lambda: kept)
    assert ReviewTeacher(str(tiny_matcher())).model is kept


def test_review_teacher_computes_nothing_when_each_pair_has_its_score(tmp_path):
    teacher = object.__new__(ReviewTeacher)  # without a model
    with filled_queue(tmp_path / "q.db", count=3) as queue:
        assert teacher.missing_scores(queue.pairs()) == {}


def test_review_teacher_refuses_a_matcher_without_a_teacher_and_other_folders(tiny_matcher, tmp_path):
    with pytest.raises(ConfigError, match="keeps no teacher; give the folder of flipkd teach as --teacher"):
        ReviewTeacher(str(tiny_matcher()))
    with pytest.raises(ArtefactError):
        ReviewTeacher(str(tmp_path))


@pytest.mark.parametrize(
    "folder, select", [(None, "diverse"), (None, "disagreement"), ("t", "uncertain"), ("t", "random")]
)
def test_load_review_teacher_loads_nothing_for_other_selections_or_without_a_folder(monkeypatch, folder, select):
    monkeypatch.setattr(module, "ReviewTeacher", None)
    assert load_review_teacher(folder, select=select) is None


def test_load_review_teacher_refuses_a_teacher_without_vectors_only_for_diverse(monkeypatch):
    scorer = SimpleNamespace(model=SimpleNamespace(has_vectors=False))
    monkeypatch.setattr(module, "ReviewTeacher", lambda folder: scorer)
    assert load_review_teacher("t", select="disagreement") is scorer
    with pytest.raises(ConfigError, match=r"t: this teacher scores pairs and has no vectors .* to use TF-IDF"):
        load_review_teacher("t", select="diverse")
    scorer.model.has_vectors = True
    assert load_review_teacher("t", select="diverse") is scorer
