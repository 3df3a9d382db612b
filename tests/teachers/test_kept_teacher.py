"""KeptTeacherModel: the scores of training after saving and loading, the cache, batch sizes and threads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from flipkd.errors import ArtefactError
from flipkd.teachers import kept_teacher
from flipkd.teachers.kept_teacher import CHARACTERS_PER_TOKEN, KeptTeacherModel, load_kept_teacher, require_saveable
from flipkd.teachers.teacher import load_teacher

LEFT = ["loan1 card2", "fee3", "loan1 card2", "rate4 rate5"]
RIGHT = ["card2", "fee3", "rate1", "loan1 card2"]


@pytest.fixture(params=["bi_encoder", "cross_encoder"])
def teacher(request, make_bi_encoder, cross_encoder_folder):
    kind = request.param
    folder = make_bi_encoder(prompt="query : ") if kind == "bi_encoder" else cross_encoder_folder
    return load_teacher(folder, kind=kind, max_length=16)


class Counting:
    """Bi-encoder whose vectors depend on the letters of a text; records its inputs."""

    fingerprint = "counting"

    def __init__(self):
        self.asked = []

    def describe(self):
        return {}

    def embed(self, texts, *, progress=False):
        self.asked += texts
        rows = np.array([[len(text), ord(text[0]), 1] for text in texts], np.float32).reshape(len(texts), 3)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_kept_teacher_scores_equal_cached_scores(teacher):
    found = KeptTeacherModel(teacher).scores(LEFT, RIGHT)
    if hasattr(teacher, "embed"):
        expected = np.einsum("nd,nd->n", teacher.embed(LEFT), teacher.embed(RIGHT))
    else:
        expected = teacher.score(LEFT, RIGHT)
    assert (found.dtype, found.shape) == (np.float32, (4,))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert KeptTeacherModel(teacher).scores([], []).shape == (0,)


def test_kept_teacher_scores_of_both_orders(teacher):
    one = KeptTeacherModel(teacher)
    there, back, both = one.scores(LEFT, RIGHT), one.scores(RIGHT, LEFT), one.scores(LEFT, RIGHT, both_orders=True)
    np.testing.assert_allclose(both, (there + back) / 2, atol=1e-6)
    assert np.allclose(there, back, atol=1e-6) is one.has_vectors


def test_save_and_load_kept_teacher_give_the_same_scores(teacher, tmp_path):
    facts = KeptTeacherModel(teacher).save(tmp_path)
    assert list(facts) == ["fingerprint", "kind", "max_length", "prompt"]
    assert facts["max_length"] == 16
    again = load_kept_teacher(tmp_path, json.loads(json.dumps(facts)))
    np.testing.assert_array_equal(again.scores(LEFT, RIGHT), KeptTeacherModel(teacher).scores(LEFT, RIGHT))
    assert again.parameters == KeptTeacherModel(teacher).parameters > 500
    assert {path.suffix for path in (tmp_path / "teacher").rglob("*") if path.is_file()} <= {".json", ".safetensors"}
    for wrong in ({"prompt": "other : "}, {"max_length": 8}, {"fingerprint": "0" * 64}):
        with pytest.raises(ArtefactError, match="fingerprint"):
            load_kept_teacher(tmp_path, facts | wrong)
    with pytest.raises(ArtefactError, match="no such folder, but"):
        load_kept_teacher(tmp_path / "none", facts)


def test_require_saveable_refuses_a_model_changed_by_saving(teacher, tmp_path):
    require_saveable(teacher, tmp_path)
    assert not list(tmp_path.iterdir())
    teacher.fingerprint = "0" * 64
    with pytest.raises(ArtefactError, match="fingerprint"):
        require_saveable(teacher, tmp_path)


def test_embed_encodes_a_text_once_and_evicts_least_used(monkeypatch):
    counting = Counting()
    one = KeptTeacherModel(counting)
    expected = one.scores(["a", "bb"], ["bb", "a"])
    assert counting.asked == ["a", "bb"]
    assert expected.tolist() == one.scores(["a", "bb"], ["bb", "a"]).tolist()
    assert counting.asked == ["a", "bb"]
    assert one.embed(["bb", "a", "bb"]).shape == (3, 3)

    one.limit = 2 * 12 + 3  # bytes of the two vectors and their texts
    one.embed(["a"])
    one.embed(["cc"])
    assert list(one._cache) == ["cc"] or list(one._cache) == ["a", "cc"]
    assert one._size == sum(12 + len(text) for text in one._cache) <= one.limit
    one.embed(["a"])
    assert counting.asked.count("a") == 1, "it was used last and stayed"
    one.limit = 0
    assert one.scores(["a"], ["a"]) == pytest.approx([1])
    assert not one._cache

    monkeypatch.setattr(kept_teacher, "WINDOW", 2)
    pairs = ["a", "bb", "cc", "d", "e"], ["bb", "bb", "a", "a", "e"]
    np.testing.assert_array_equal(one.scores(*pairs), KeptTeacherModel(Counting()).scores(*pairs))


def test_texts_far_beyond_the_limit_are_truncated(teacher, monkeypatch):
    one = KeptTeacherModel(teacher)
    expected = one.scores(["loan1 card2 " * 20], ["fee3"])
    longest = []
    for name in ("embed", "score"):
        if hasattr(teacher, name):
            real = getattr(teacher, name)
            watched = lambda *texts, real=real: longest.extend(map(len, texts[0])) or real(*texts)  # noqa: E731
            monkeypatch.setattr(teacher, name, watched)
    found = KeptTeacherModel(teacher).scores(["loan1 card2 " * 100_000], ["fee3"])
    assert found == pytest.approx(expected)
    assert max(longest) == 16 * CHARACTERS_PER_TOKEN


def test_kept_teacher_scores_use_the_given_batch_size(teacher):
    one, own = KeptTeacherModel(teacher), teacher.batch_size
    one.scores(LEFT, RIGHT, batch_size=3)
    assert teacher.batch_size == 3
    one.scores(LEFT, RIGHT)
    assert teacher.batch_size == own


def test_kept_teacher_is_thread_safe(teacher):
    one = KeptTeacherModel(teacher)
    expected = one.scores(LEFT, RIGHT)
    fresh = KeptTeacherModel(teacher, limit=100)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: fresh.scores(LEFT, RIGHT), range(16)))
    np.testing.assert_allclose(np.array(found), np.array([expected] * 16), atol=1e-6)
