"""merged: transformers alone gives the scores of the matcher, for every family, reading and kind of score."""

from __future__ import annotations

import json
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from tiny_matchers import PAIRS, exported
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from flipkd.exports.merged import write_parts
from flipkd.files import write_manifest, write_text
from flipkd.matcher import Matcher
from flipkd.student.model import READOUT

SCORES = {"joint": {"answer": 1.0}, "separate": {"answer": 0.5, "cosine": 2.0}, "blocked": {"cosine": 1.0}}


@pytest.mark.parametrize("family", ["gemma3", "llama", "qwen2"])
def test_export_merged_gives_the_scores_in_transformers(tiny_matcher, tmp_path, family):
    folder = tiny_matcher(family)
    exported(folder, tmp_path / "out", "merged")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "out")
    left, right = [list(side) for side in zip(*PAIRS, strict=True)]
    batch = tokenizer(left, right, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
    rows = torch.arange(len(left))
    last = logits[rows, batch["attention_mask"].sum(1) - 1]
    contract = json.loads((tmp_path / "out" / "matcher.json").read_text())
    no, yes = contract["label_ids"]
    expected = Matcher.from_pretrained(folder).predict(PAIRS)
    np.testing.assert_allclose((last[:, yes] - last[:, no]).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("reading", SCORES)
@pytest.mark.parametrize("family", ["gemma3", "llama"])
def test_export_merged_is_compared_for_every_reading_and_score(tiny_matcher, tmp_path, family, reading):
    folder = tiny_matcher(family, reading, score=SCORES[reading])
    result = exported(folder, tmp_path / "out", "merged")
    assert result["ids_equal"] == result["pairs"] == 12
    assert result["largest_difference"] < 1e-4
    assert result["beyond"] == []


@pytest.mark.scenario("X6")
def test_write_parts_copies_no_file_that_is_not_of_the_matcher(tmp_path):
    folder, out = tmp_path / "matcher", tmp_path / "out"
    write_text(folder / READOUT, "a readout")
    write_text(folder / "teacher" / "config.json", "{}")
    write_manifest(folder)
    (tmp_path / "private").write_text("a key")
    (folder / "teacher" / "notes.json").symlink_to(tmp_path / "private")
    out.mkdir()
    contract = MagicMock(base_model_name_or_path="base")
    write_parts(SimpleNamespace(folder=folder, contract=contract, base=None), out)
    assert {path.name for path in out.rglob("*")} == {READOUT, "teacher", "config.json"}
