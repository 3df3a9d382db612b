"""The golden pair: equal after loading in every mode; another tokenizer or score is detected."""

from __future__ import annotations

import logging

import pytest
from tiny import randomise

from flipkd.errors import ArtefactError, NumbersError
from flipkd.files import new_folder
from flipkd.matcher import Matcher
from flipkd.student.golden import TOLERANCE, check_golden, golden_pair


@pytest.fixture
def student_and_contract(make_student):
    """A student with a golden pair in its contract."""
    student, contract = make_student("gemma3")
    randomise(student)
    return student, contract.model_copy(update={"golden": golden_pair(student)})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("merge", [False, True])
def test_golden_pair_is_the_same_after_loading(make_student, tmp_path, dtype, merge):
    student, contract = make_student("gemma3", dtype=dtype)
    randomise(student)
    with new_folder(tmp_path / "m") as temporary:
        student.save(temporary, contract.model_copy(update={"golden": golden_pair(student)}))
    loaded = Matcher.from_pretrained(tmp_path / "m", merge=merge)
    assert abs(golden_pair(loaded.student).score - loaded.contract.golden.score) <= TOLERANCE[dtype] / 2


@pytest.mark.scenario("A5")
def test_check_golden_refuses_other_ids_and_scores(student_and_contract, tmp_path):
    student, contract = student_and_contract
    check_golden(student, contract, tmp_path)
    golden = contract.golden
    for change, message in (
        ({"ids": golden.ids[:-1]}, r"matcher\.json: the golden pair has other token ids"),
        (
            {"score": golden.score + 2 * TOLERANCE["float32"]},
            r"the score of the golden pair is .* \(allowed difference: 0\.01\)",
        ),
        ({"text1": golden.text2}, "other token ids"),
        ({"text1": " "}, "is empty"),
    ):
        other = contract.model_copy(update={"golden": golden.model_copy(update=change)})
        with pytest.raises(ValueError, match=message):
            check_golden(student, other, tmp_path)


def test_golden_pair_refuses_a_score_that_is_not_finite(student_and_contract, tmp_path):
    import torch

    student, contract = student_and_contract
    with torch.no_grad():
        student.language_model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ArtefactError, match="the score of the golden pair is nan, but was"):
        check_golden(student, contract, tmp_path)
    with pytest.raises(NumbersError, match="the score of the golden pair is nan: the training diverged"):
        golden_pair(student)


def test_check_golden_logs_a_missing_golden_pair(student_and_contract, tmp_path, caplog):
    student, contract = student_and_contract
    with caplog.at_level(logging.INFO):
        check_golden(student, contract.model_copy(update={"golden": None, "format": 3}), tmp_path)
    assert "format 3 has no golden pair" in caplog.text
