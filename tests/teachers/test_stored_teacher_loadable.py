"""The folder of a teacher loads in sentence-transformers itself, with the outputs of the model in it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer

from flipkd.artefacts import check_model_folder
from flipkd.teachers.ensemble import write_members
from flipkd.teachers.stored_teacher import StoredTeacher, make_loadable
from flipkd.teachers.teacher import load_teacher

TEXTS = ["my card was stolen", "where is my transfer"]


def test_make_loadable_makes_the_folder_of_a_taught_bi_encoder_a_sentence_transformer(taught, tmp_path):
    moved = shutil.copytree(taught, tmp_path / "moved")
    for path in (taught, moved):
        model, inside = SentenceTransformer(str(path)), SentenceTransformer(f"{path}/model")
        np.testing.assert_array_equal(model.encode(TEXTS), inside.encode(TEXTS))
        assert (model.default_prompt_name, model.max_seq_length) == (inside.default_prompt_name, inside.max_seq_length)
    assert check_model_folder(moved) == ["model"]
    fingerprints = {load_teacher(moved).fingerprint, load_teacher(moved / "model").fingerprint}
    assert fingerprints == {StoredTeacher(moved).fingerprint}
    assert "SentenceTransformer(" in (moved / "README.md").read_text()


@pytest.mark.parametrize("kind", ["bi", "cross"])
def test_make_loadable(encoders, tmp_path, kind):
    shutil.copytree(encoders / kind, tmp_path / "model")
    if kind == "cross":  # which transformers saved
        shutil.rmtree(tmp_path / "model")
        CrossEncoder(str(encoders / "cross")).save_pretrained(str(tmp_path / "model"), create_model_card=False)
        assert make_loadable(tmp_path)
        found = [CrossEncoder(str(path)).predict([TEXTS]) for path in (tmp_path, tmp_path / "model")]
    else:
        assert make_loadable(tmp_path)
        found = [SentenceTransformer(str(path)).encode(TEXTS) for path in (tmp_path, tmp_path / "model")]
    np.testing.assert_array_equal(*found)
    paths = [module["path"] for module in json.loads((tmp_path / "modules.json").read_text())]
    assert {path.split("/")[0] for path in paths} == {"model"}


def test_an_ensemble_is_not_made_loadable(tmp_path):
    (tmp_path / "model").mkdir()
    write_members(tmp_path / "model", 2)
    assert not make_loadable(tmp_path)
    assert not (tmp_path / "modules.json").exists()


def test_stored_teacher_of_an_earlier_version_loads(taught, tmp_path):
    old = shutil.copytree(taught, tmp_path / "old")
    for name in ("modules.json", "config_sentence_transformers.json", "README.md"):
        (old / name).unlink()
    assert StoredTeacher(old).model().fingerprint == StoredTeacher(taught).fingerprint
