"""Ensembles: the mean score of the members, and saving and loading."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flipkd.errors import ArtefactError, ConfigError
from flipkd.teachers.cross_encoder import CrossEncoderTeacher, load_cross_encoder
from flipkd.teachers.ensemble import ENSEMBLE, ScoreEnsemble, VectorEnsemble, ensemble_of
from flipkd.teachers.teacher import VectorTeacher, load_teacher

LEFT, RIGHT = ["loan1", "card2", "fee3 fee4", "rate0"], ["loan2", "fee1", "fee3", "card7 card1"]


def bi_encoders(make_bi_encoder, *, seeds=(0, 1, 2)):
    return [load_teacher(make_bi_encoder(seed=seed), max_length=20, device="cpu") for seed in seeds]


def test_vector_ensemble_dot_product_is_the_mean_cosine(make_bi_encoder):
    members = bi_encoders(make_bi_encoder)
    whole = ensemble_of(members, name="whole")
    assert isinstance(whole, VectorEnsemble)
    assert isinstance(whole, VectorTeacher)
    left, right = whole.embed(LEFT), whole.embed(RIGHT)
    assert left.shape == (4, 3 * 16)
    assert left.dtype == np.float32
    assert np.linalg.norm(left, axis=1) == pytest.approx(1, abs=1e-6)
    cosines = [[a @ b for a, b in zip(m.embed(LEFT), m.embed(RIGHT), strict=True)] for m in members]
    assert np.ptp(cosines, axis=0).max() > 0.05, "the members differ"
    means = [sum(own) / 3 for own in zip(*cosines, strict=True)]
    assert [a @ b for a, b in zip(left, right, strict=True)] == pytest.approx(means, abs=1e-6)
    assert whole.embed([]).shape == (0, 48)


def test_score_ensemble_is_the_mean_logit(cross_encoder_folder):
    import torch

    members = [load_cross_encoder(cross_encoder_folder, device="cpu") for _ in range(2)]
    with torch.no_grad():
        for parameter in members[1].model.parameters():
            parameter.mul_(1.5)
    members[1] = CrossEncoderTeacher(members[1].model, name="other")
    whole = ensemble_of(members, name="whole")
    assert isinstance(whole, ScoreEnsemble)
    assert not isinstance(whole, VectorTeacher)
    one, other = (member.score(LEFT, RIGHT) for member in members)
    assert np.abs(one - other).max() > 0.01
    assert whole.score(LEFT, RIGHT).tolist() == pytest.approx(((one + other) / 2).tolist(), abs=1e-6)
    assert whole.describe()["kind"] == "cross_encoder"


def test_saved_ensemble_loads_as_the_same_teacher(make_bi_encoder, tmp_path):
    whole = ensemble_of(bi_encoders(make_bi_encoder), name="whole")
    whole.model.save_pretrained(str(tmp_path / "here"), create_model_card=False)
    facts = whole.describe()
    again = load_teacher(tmp_path / "here", max_length=facts["max_length"], prompt=facts["prompt"], device="cpu")
    assert again.fingerprint == whole.fingerprint
    assert again.describe() == {**facts, "name": str(tmp_path / "here")}
    assert again.embed(LEFT).tolist() == whole.embed(LEFT).tolist()
    assert sum(p.numel() for p in whole.model.parameters()) == 3 * sum(
        p.numel() for p in whole.members[0].model.parameters()
    )
    members = bi_encoders(make_bi_encoder, seeds=(0, 1))
    assert ensemble_of(members, name="whole").fingerprint != whole.fingerprint


def test_ensemble_of_refuses_different_members(make_bi_encoder, cross_encoder_folder):
    bi, other = bi_encoders(make_bi_encoder, seeds=(0, 1))
    for members in (
        [],
        [bi, load_cross_encoder(cross_encoder_folder, device="cpu")],
        [bi, load_teacher(make_bi_encoder(), max_length=10, device="cpu")],
        [bi, load_teacher(make_bi_encoder(), max_length=20, prompt="query: ", device="cpu")],
    ):
        with pytest.raises(ConfigError, match="must have the same kind, prompt, max_length and dtype"):
            ensemble_of(members, name="whole")
    assert ensemble_of([bi, other], name="whole").members == [bi, other]


@pytest.mark.parametrize("content", [{"members": 10**9}, {"members": 0}, {"members": "two"}, {}, [2]])
def test_members_of_refuses_a_damaged_file(tmp_path, content):
    (tmp_path / ENSEMBLE).write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="allowed: 1 to 100"):
        load_teacher(tmp_path)
