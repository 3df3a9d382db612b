"""onnx: onnxruntime and tokenizers alone give the scores of the matcher, in any batch and length."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from tiny import build_model, build_tokenizer, student_config
from tiny_matchers import PAIRS, exported, write_matcher

from flipkd.exports import onnx
from flipkd.exports.onnx import refusal
from flipkd.matcher import Matcher
from flipkd.student.contract import read_contract
from flipkd.student.loading import new_student

onnxruntime = pytest.importorskip("onnxruntime", reason='onnxruntime is not installed: pip install "flipkd[onnx]"')
pytest.importorskip("onnxscript", reason='onnxscript is not installed: pip install "flipkd[onnx]"')
MORE = [("what  is\n<think> this <eos>", "my card"), ("my card was stolen " * 30, "x"), ("x", "where is it " * 30)]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """Matcher folder, export folder and comparison of a Gemma 3 of one layer (each takes 3 seconds) with a short window."""
    root = tmp_path_factory.mktemp("onnx")
    tokenizer = build_tokenizer()
    model = build_model("gemma3", vocabulary=len(tokenizer), layers=1)
    model.config.sliding_window = 48
    model.save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")

    def make_student(_family, **settings):
        return new_student(student_config(root / "base", readout_r=4, **settings))

    folder = write_matcher(make_student, root / "matcher", "gemma3", "joint")
    return folder, root / "out", exported(folder, root / "out", "onnx")


@pytest.mark.slow
def test_onnx_export_gives_the_ids_and_scores_of_the_matcher(gemma):
    _, _, result = gemma
    assert (result["ids_equal"], result["beyond"]) == (12, [])
    assert result["largest_difference"] < 1e-4


@pytest.mark.slow
def test_onnx_export_scores_a_pair_by_onnxruntime_and_tokenizers_alone(gemma):
    """The program of docs/export.md."""
    from tokenizers import Tokenizer

    folder, out, _ = gemma
    contract = json.loads((out / "flipkd_export.json").read_text())["contract"]
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))

    def score(left, right):
        sides = [tokenizer.encode(text, add_special_tokens=False) for text in (left, right)]
        for side in sides:
            side.truncate(contract["max_text_length"])
        ids = np.array([tokenizer.post_process(*sides).ids])
        [[no, yes]] = session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        return yes - no

    pairs = [*PAIRS[-6:], *MORE]
    expected = Matcher.from_pretrained(folder).predict(pairs)
    np.testing.assert_allclose([score(*pair) for pair in pairs], expected, atol=1e-4)


@pytest.mark.slow
def test_onnx_readme_has_an_example_that_gives_the_score(gemma):
    folder, out, _ = gemma
    code = re.search("```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)[1]
    names = {"FOLDER": str(out), "text1": PAIRS[0][0], "text2": PAIRS[0][1]}
    exec(code, names)
    np.testing.assert_allclose(names["score"], Matcher.from_pretrained(folder).predict(PAIRS[:1]), atol=1e-4)


@pytest.mark.slow
def test_scorer_of_the_export_scores_batches_of_other_lengths(gemma):
    from flipkd.exports.onnx import OnnxScorer

    folder, out, _ = gemma
    scorer, pairs = OnnxScorer(out, read_contract(folder)), [*PAIRS, *MORE]
    assert [axis.shape for axis in scorer.session.get_inputs()] == [["batch", "length"]] * 2
    found = scorer.scores(*[list(side) for side in zip(*pairs, strict=True)])
    np.testing.assert_allclose(found, Matcher.from_pretrained(folder).predict(pairs), atol=1e-4)


@pytest.mark.slow
def test_onnx_int8_is_smaller_and_its_loss_is_in_the_record(gemma, tmp_path, monkeypatch):
    folder, full, _ = gemma
    monkeypatch.setattr(
        onnx, "_write_graph", lambda _model, _source, file: shutil.copy(full / "model.onnx", file)
    )  # slow
    result = exported(folder, tmp_path / "out", "onnx", dtype="int8")
    assert 0.001 < result["largest_difference"] <= result["bounds"]["difference"]
    record = json.loads((tmp_path / "out" / "flipkd_export.json").read_text())
    assert (record["dtype"], record["check"]["flipped"]) == ("int8", result["flipped"])
    assert (tmp_path / "out" / "model.onnx").stat().st_size < (full / "model.onnx").stat().st_size


def test_refusal_names_the_part_that_is_not_exported(tiny_matcher):
    contract = read_contract(tiny_matcher("llama"))
    assert refusal(contract, None) is None
    assert "blocked reading" in refusal(contract.model_copy(update={"reading": "blocked"}), None)
    assert "--score answer" in refusal(contract.model_copy(update={"score": {"answer": 1.0, "cosine": 0.5}}), None)
    assert "both orders" in refusal(contract.model_copy(update={"symmetric": True}), None)
