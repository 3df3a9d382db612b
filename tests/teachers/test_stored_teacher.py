"""StoredTeacher: cached outputs of a folder made by `flipkd teach`, and the errors for damaged or other folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from flipkd.data.pairs import read_pairs
from flipkd.errors import ArtefactError
from flipkd.teachers.stored_teacher import StoredTeacher


def test_signal_has_the_outputs_of_the_model(taught, pair_files):
    dataset = read_pairs(pair_files["test"])  # not cached, so the model is called
    teacher = StoredTeacher(taught)
    signal = teacher.signal(dataset)
    assert signal.left.shape == signal.right.shape == (24, 16)
    np.testing.assert_allclose(np.linalg.norm(signal.left, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(signal.left, teacher.model().embed(dataset["text1"][:]), atol=1e-6)
    cosines = np.einsum("nd,nd->n", signal.left, signal.right)
    np.testing.assert_allclose(signal.pair_scores(), cosines, atol=1e-6)


def test_signal_of_cached_pairs_needs_no_model(taught, pair_files, tmp_path):
    folder = Path(shutil.copytree(taught, tmp_path / "t"))
    shutil.rmtree(folder / "model")
    dataset = read_pairs(pair_files["train"])
    found = StoredTeacher(folder).signal(dataset).pair_scores()
    assert found.tolist() == StoredTeacher(taught).signal(dataset).pair_scores().tolist()


def test_stored_teacher_refuses_a_model_with_another_fingerprint(taught, encoders, pair_files, tmp_path):
    copy = Path(shutil.copytree(taught, tmp_path / "teacher"))
    shutil.copy(encoders / "bi" / "model.safetensors", copy / "model" / "model.safetensors")
    (copy / "model" / "manifest.json").unlink()
    fresh = read_pairs(pair_files["train"]).select([0]).map(lambda row: {"text1": "a text that is not cached"})
    with pytest.raises(ArtefactError, match="not the one that computed the cached outputs"):
        StoredTeacher(copy).signal(fresh)


def test_stored_teacher_refuses_other_folders(tmp_path):
    with pytest.raises(ArtefactError, match=r"not a teacher folder, it contains no teacher\.json"):
        StoredTeacher(tmp_path)
    with pytest.raises(ArtefactError, match=r"teachr: no such folder; make one with flipkd teach"):
        StoredTeacher(tmp_path / "teachr")
    for content in ("{}", "[]", "3"):
        (tmp_path / "teacher.json").write_text(content)
        with pytest.raises(ArtefactError, match="not a valid teacher file of flipkd"):
            StoredTeacher(tmp_path)
    (tmp_path / "teacher.json").write_text("{")
    with pytest.raises(ArtefactError, match="not readable as JSON"):
        StoredTeacher(tmp_path)
