"""matcher.json: read back equal to what was saved; errors name the file and the field."""

from __future__ import annotations

import json

import pytest

from flipkd.errors import ArtefactError
from flipkd.student.contract import CONTRACT, FORMAT, ScoreContract, matcher_name, read_contract

VALUES = {
    "base_model_name_or_path": "m",
    "base_model_hash": "xxh3_128:float32:00",
    "dtype": "float32",
    "template": {"no": " no", "yes": " ja\n"},
    "label_ids": [3, 7],
    "reading": "joint",
    "max_text_length": 16,
    "readout_places": ["model.layers.1.self_attn.q_proj"],
}
TEACHER = {"fingerprint": "00", "kind": "bi_encoder", "max_length": None, "prompt": ""}


def write(folder, values):
    (folder / CONTRACT).write_text(values if isinstance(values, str) else json.dumps(values))


@pytest.mark.parametrize(
    "folder, name",
    [
        ("cache/models--org--bank/snapshots/abc", "org/bank"),
        ("run/matcher", "run"),
        ("runs/careful", "careful"),
        ("models--org--bank/other/abc", "abc"),
    ],
)
def test_matcher_name_is_that_of_the_repository_the_run_or_the_folder(tmp_path, folder, name):
    assert matcher_name(tmp_path / folder) == name


def test_read_contract_equals_the_saved_one(tmp_path):
    calibration = {"method": "temperature", "slope": 0.1 + 0.2, "intercept": 0.0}
    contract = ScoreContract.model_validate(VALUES | {"calibration": calibration, "threshold": -1e-17})
    contract.save(tmp_path)
    assert read_contract(tmp_path) == contract
    assert read_contract(tmp_path).threshold == -1e-17
    assert (contract.format, contract.pooling, contract.label_ids) == (FORMAT, "mean", (3, 7))


def test_contract_of_format_1_has_no_review_threshold(tmp_path):
    write(tmp_path, VALUES | {"format": 1, "threshold": 0.5})
    assert read_contract(tmp_path).review_threshold is None


def test_contract_of_format_3_is_not_directed(tmp_path):
    write(tmp_path, VALUES | {"format": 3})
    assert read_contract(tmp_path).directed is False


def test_contract_of_format_4_has_no_text_normalisation(tmp_path):
    write(tmp_path, VALUES | {"format": 4})
    assert read_contract(tmp_path).text_normalisation is None


def test_contract_score_defaults_to_the_answer(tmp_path):
    assert ScoreContract.model_validate(VALUES).score == {"answer": 1.0}
    ScoreContract.model_validate(VALUES | {"score": {"answer": 0.1 + 0.2, "cosine": -7.5}}).save(tmp_path)
    assert read_contract(tmp_path).score == {"answer": 0.1 + 0.2, "cosine": -7.5}


def test_contract_teacher_and_cascade_are_read_back(tmp_path):
    band = {"low": None, "high": 0.1 + 0.2, "slope": 2.0, "intercept": -0.5}
    values = VALUES | {"score": {"answer": 1.0, "teacher": 0.5}, "teacher": TEACHER, "cascade": band}
    ScoreContract.model_validate(values).save(tmp_path)
    contract = read_contract(tmp_path)
    assert (contract.teacher.model_dump(), contract.cascade.model_dump()) == (TEACHER, band)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"score": {}}, "score"),
        ({"score": {"length": 1.0}}, "score"),
        ({"format": FORMAT + 1}, f"format {FORMAT + 1} needs a newer flipkd"),
        ({"format": 0}, "format must be "),
        ({"reading": "both"}, "reading must be "),
        ({"pooling": "max"}, "pooling must be "),
        ({"text_normalisation": 2}, "text_normalisation must be "),
        ({"label_ids": [1]}, "label_ids"),
        ({"threshold": "high"}, "threshold must be "),
        ({"threshold": 1.0, "review_threshold": 1.0}, "it must be below threshold, which is 1.0"),
        ({"symmetric": True, "directed": True}, "directed and symmetric are both true"),
        ({"review_threshold": 0.0}, "it must be below threshold, which is None"),
        ({"surprise": 1}, "surprise: "),
        ({"score": {"answer": 1.0, "teacher": 2.0}}, "but the field teacher is empty"),
        ({"cascade": {"low": 0.0, "high": 1.0, "slope": 1.0, "intercept": 0.0}}, "but the field teacher is empty"),
        ({"cascade": {"low": 0.0, "high": 1.0, "slope": 0.0, "intercept": 0.0}}, "cascade.slope must be "),
        ({"cascade": {"low": 0.0}}, "cascade.high: "),
        ({"score": {"teacher": 2.0}, "teacher": TEACHER}, "must hold the answer or the cosine"),
        ({"teacher": TEACHER | {"kind": "scores"}}, "teacher.kind must be "),
    ],
)
def test_read_contract_names_the_invalid_field(tmp_path, change, message):
    write(tmp_path, VALUES | change)
    with pytest.raises(ArtefactError) as raised:
        read_contract(tmp_path)
    assert str(tmp_path / CONTRACT) in str(raised.value)
    assert message in str(raised.value)


def test_read_contract_refuses_other_files(tmp_path):
    with pytest.raises(ArtefactError, match="no such file"):
        read_contract(tmp_path)
    for content, message in (
        ("{", "not readable as JSON"),
        ("[]", "the file"),
        ("{}", "base_model_name_or_path"),
    ):
        write(tmp_path, content)
        with pytest.raises(ArtefactError, match=message):
            read_contract(tmp_path)
    for number in ("NaN", "Infinity"):
        write(tmp_path, json.dumps(VALUES | {"threshold": 0}).replace('"threshold": 0', f'"threshold": {number}'))
        with pytest.raises(ArtefactError, match="threshold"):
            read_contract(tmp_path)
