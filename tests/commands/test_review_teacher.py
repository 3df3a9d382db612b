"""The teacher of a review: from a teacher folder or a matcher that keeps one; scores only for pairs that have none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from review_queues import filled_queue, key_of

from flipkd.commands.review_teacher import load_review_teacher, missing_scores
from flipkd.errors import ArtefactError, ConfigError
from flipkd.teachers.stored_teacher import StoredTeacher

TEXTS = ["where is my card", "close my account"]


def test_review_teacher_has_the_scores_and_vectors_of_a_teacher_folder(taught, tmp_path):
    teacher = load_review_teacher(taught, select="diverse")
    expected = StoredTeacher(taught).vectors(TEXTS)
    np.testing.assert_allclose(teacher.embed(TEXTS), expected, atol=1e-5)
    with filled_queue(tmp_path / "q.db", count=3) as queue:
        queue.connection.execute("UPDATE pairs SET teacher_score = NULL WHERE key <> ?", [key_of(1)])
        pairs = queue.pairs()
    found = missing_scores(teacher, pairs)
    assert found.keys() == {key_of(0), key_of(2)}
    sides = [teacher.embed([text]) for text in ("left 2", "right 2")]
    assert found[key_of(2)] == pytest.approx(float(np.sum(sides[0] * sides[1])), abs=1e-5)


def test_missing_scores_are_those_of_normal_texts():
    pair = SimpleNamespace(key="k", text1="a\u00ad  b", text2=" c\n", teacher_score=None)
    teacher = SimpleNamespace(scores=lambda left, right: [float((left, right) == (["a b"], ["c"]))])
    assert missing_scores(teacher, [pair]) == {"k": 1.0}


@pytest.fixture
def kept(tiny_matcher, monkeypatch):
    """A stand-in for the teacher that the matcher `kept.folder` keeps."""
    model = SimpleNamespace(folder=str(tiny_matcher()), has_vectors=True)
    monkeypatch.setattr("flipkd.commands.matcher_teacher.kept_teacher_of", lambda folder: lambda: model)
    return model


def test_review_teacher_of_a_matcher_is_the_teacher_that_it_keeps(kept):
    assert load_review_teacher(kept.folder, select="disagreement") is kept


def test_missing_scores_computes_nothing_when_each_pair_has_its_score(tmp_path):
    with filled_queue(tmp_path / "q.db", count=3) as queue:
        assert missing_scores(None, queue.pairs()) == {}  # without a model


def test_review_teacher_refuses_a_matcher_without_a_teacher_and_other_folders(tiny_matcher, tmp_path):
    with pytest.raises(ConfigError, match="keeps no teacher; give the folder of flipkd teach as --teacher"):
        load_review_teacher(str(tiny_matcher()), select="disagreement")
    with pytest.raises(ArtefactError):
        load_review_teacher(str(tmp_path), select="disagreement")


@pytest.mark.parametrize(
    "folder, select", [(None, "diverse"), (None, "disagreement"), ("t", "uncertain"), ("t", "random")]
)
def test_load_review_teacher_loads_nothing_for_other_selections_or_without_a_folder(folder, select):
    assert load_review_teacher(folder, select=select) is None


def test_load_review_teacher_refuses_a_teacher_without_vectors_only_for_diverse(kept):
    kept.has_vectors = False
    assert load_review_teacher(kept.folder, select="disagreement") is kept
    with pytest.raises(ConfigError, match=r": this teacher scores pairs and has no vectors .* to use TF-IDF"):
        load_review_teacher(kept.folder, select="diverse")
    kept.has_vectors = True
    assert load_review_teacher(kept.folder, select="diverse") is kept
