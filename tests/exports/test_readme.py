"""README.md of an export: its example runs, and its probabilities are those of the decisions."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tiny_matchers import PAIRS, exported

from flipkd.exports.readme import USE
from flipkd.matcher import Matcher


@pytest.mark.parametrize("to", ["merged", "sentence-transformers", "sequence-classification"])
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
    found = names["score"][0].item() if "score" in names else names["found"][0]
    found = found["score"] if isinstance(found, dict) else found
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_probabilities_are_those_of_the_thresholds(tiny_matcher, tmp_path):
    exported(tiny_matcher(), tmp_path / "out", "merged")
    text, matcher = (tmp_path / "out" / "README.md").read_text(), Matcher.from_pretrained(tiny_matcher())
    expected = matcher.calibration.apply([matcher.threshold, matcher.review_threshold])
    for value in expected:
        assert f"a probability of {value:.4f}" in text
    assert set(USE) >= {"merged", "adapter", "sentence-transformers", "sequence-classification"}
