"""README.md of an export: its example runs, and its probabilities are those of the decisions."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest
from tiny_matchers import PAIRS, exported

from flipkd.exports.formats import FORMATS
from flipkd.exports.readme import USE
from flipkd.matcher import Matcher

HAS_LLAMA_CPP = importlib.util.find_spec("llama_cpp") is not None
needs_llama_cpp = pytest.mark.skipif(not HAS_LLAMA_CPP, reason="llama-cpp-python is not installed")
FORMATS_WITH_SCORES = ["merged", "sentence-transformers", "sequence-classification", "onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("to", [*FORMATS_WITH_SCORES, pytest.param("gguf", marks=needs_llama_cpp)])
def test_the_example_gives_the_matchers_output(tiny_matcher, tmp_path, to):
    exported(tiny_matcher(), tmp_path / "out", to)
    text = (tmp_path / "out" / "README.md").read_text()
    code = re.search("```python\n(.*?)```", text, re.DOTALL)[1]
    *lines, last = code.strip().splitlines()
    text1, text2 = PAIRS[0]
    names = {"FOLDER": str(tmp_path / "out"), "text1": text1, "text2": text2}
    exec("\n".join([*lines, last if " = " in last.split("#")[0] else f"found = {last}"]), names)
    matcher = Matcher.from_pretrained(tiny_matcher())
    expected = {"sentence-transformers": matcher.predict_proba}.get(to, matcher.predict)([PAIRS[0]])[0]
    found = (
        np.ravel(names["score"].detach() if to == "merged" else names["score"])[0]
        if "score" in names
        else names["found"][0]
    )
    found = found["score"] if isinstance(found, dict) else found
    np.testing.assert_allclose(found, expected, atol=0.01 if to == "gguf" else 1e-4)


def test_readme_has_the_probabilities_of_the_thresholds(tiny_matcher, tmp_path):
    exported(tiny_matcher(), tmp_path / "out", "merged")
    text, matcher = (tmp_path / "out" / "README.md").read_text(), Matcher.from_pretrained(tiny_matcher())
    expected = matcher.calibration.apply([matcher.threshold, matcher.review_threshold])
    for value in expected:
        assert f"a probability of {value:.4f}" in text
    assert set(USE) == set(FORMATS)


def test_readme_names_a_single_part_without_its_weight_of_one(tiny_matcher, tmp_path):
    exported(tiny_matcher(score={"cosine": 1.0}), tmp_path / "out", "merged")
    assert "The score is cosine." in (tmp_path / "out" / "README.md").read_text()


def test_readme_does_not_call_a_weighted_answer_the_score(tiny_matcher, tmp_path):
    exported(tiny_matcher(score={"answer": 0.5}), tmp_path / "out", "merged")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "The score is 0.5 answer." in text
    assert "\nanswer = logits[:" in text
