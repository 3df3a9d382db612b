"""Formats of the answer alone: refused with a sentence that names the part and what to do, or exported with its calibration."""

from __future__ import annotations

import pytest
from tiny_matchers import exported

from flipkd.errors import ConfigError
from flipkd.exports.answer_only import answer_refusal
from flipkd.matcher import Matcher
from flipkd.student.contract import KeptTeacher

KEPT = KeptTeacher(fingerprint="x", kind="bi_encoder", max_length=None, prompt="")


def contract_with(make_student, **changes):
    return make_student()[1].model_copy(update=changes)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"score": {"cosine": 1.0}}, "the cosine of two text embeddings, .*calibrate --score answer"),
        ({"score": {"answer": 1.0, "teacher": 2.0}, "teacher": KEPT}, "the score of its teacher, .*--to merged"),
        ({"symmetric": True}, "both orders of a pair.*--no-symmetric"),
    ],
)
def test_answer_refusal_names_the_part_and_what_to_do(make_student, changes, match):
    import re

    assert re.search(match, answer_refusal(contract_with(make_student, **changes)) or "")


def test_answer_refusal_is_none_for_an_answer_with_a_weight(make_student):
    assert answer_refusal(contract_with(make_student, score={"answer": 0.5})) is None


@pytest.mark.parametrize("to", ["sentence-transformers", "sequence-classification"])
def test_a_matcher_of_the_cosine_is_refused_and_nothing_is_written(tiny_matcher, tmp_path, to):
    with pytest.raises(ConfigError, match=f"{to}: the score of this matcher has the cosine"):
        exported(tiny_matcher(score={"cosine": 1.0}), tmp_path / "out", to)
    assert list(tmp_path.iterdir()) == []


def test_blocked_reading_is_refused_where_no_class_has_its_mask(tiny_matcher, tmp_path):
    with pytest.raises(ConfigError, match=r"blocked reading needs an attention mask .* export with --to merged"):
        exported(tiny_matcher("llama", "blocked"), tmp_path / "out", "sequence-classification")


def test_the_weight_of_the_answer_is_part_of_the_exported_score(tiny_matcher, tmp_path):
    for to in ("sentence-transformers", "sequence-classification"):
        assert exported(tiny_matcher(score={"answer": 0.5}), tmp_path / to, to)["beyond"] == []
    assert Matcher.from_pretrained(tiny_matcher(score={"answer": 0.5})).contract.score == {"answer": 0.5}
