"""The golden pair: the same on the way back, whichever way it is computed; another tokenizer or score is noticed."""

from __future__ import annotations

import logging

import pytest
from tiny import randomise

from flipkd.errors import ArtefactError, NumbersError
from flipkd.files import new_folder
from flipkd.matcher import Matcher
from flipkd.student.golden import TOLERANCE, check_golden, golden_pair


@pytest.fixture
def read(make_student):
    """A student with a golden pair in its contract."""
    student, contract = make_student("gemma3")
    randomise(student)
    return student, contract.model_copy(update={"golden": golden_pair(student)})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("merge", [False, True])
def test_a_matcher_finds_its_golden_pair_again(make_student, tmp_path, dtype, merge):
    student, contract = make_student("gemma3", dtype=dtype)
    randomise(student)
    with new_folder(tmp_path / "m") as temporary:
        student.save(temporary, contract.model_copy(update={"golden": golden_pair(student)}))
    loaded = Matcher.from_pretrained(tmp_path / "m", merge=merge)
    assert abs(golden_pair(loaded.student).score - loaded.contract.golden.score) <= TOLERANCE[dtype] / 2


@pytest.mark.scenario("A5")
def test_other_ids_or_another_score_are_refused(read, tmp_path):
    student, contract = read
    check_golden(student, contract, tmp_path)
    golden = contract.golden
    for change, said in (
        ({"ids": golden.ids[:-1]}, r"matcher\.json: its golden pair gives other token ids"),
        ({"score": golden.score + 2 * TOLERANCE["float32"]}, r"its golden pair scores .* \(allowed: 0\.01 apart\)"),
        ({"text1": golden.text2}, "other token ids"),
        ({"text1": " "}, "is empty"),
    ):
        other = contract.model_copy(update={"golden": golden.model_copy(update=change)})
        with pytest.raises(ValueError, match=said):
            check_golden(student, other, tmp_path)


def test_a_score_that_is_not_finite_is_refused(read, tmp_path):
    import torch

    student, contract = read
    with torch.no_grad():
        student.language_model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ArtefactError, match="its golden pair scores nan"):
        check_golden(student, contract, tmp_path)
    with pytest.raises(NumbersError, match="scores its golden pair nan"):
        golden_pair(student)


def test_a_matcher_without_one_says_so_in_the_log(read, tmp_path, caplog):
    student, contract = read
    with caplog.at_level(logging.INFO):
        check_golden(student, contract.model_copy(update={"golden": None, "format": 3}), tmp_path)
    assert "format 3, without a golden pair" in caplog.text
