"""sequence-classification: the Auto class and the pipeline of transformers give the scores of the matcher."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_matchers import PAIRS, exported
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from flipkd.matcher import Matcher


@pytest.mark.parametrize("family", ["gemma3", "llama", "qwen2"])
def test_sequence_classification_gives_the_scores_by_the_classes_of_transformers(tiny_matcher, tmp_path, family):
    folder, pairs = tiny_matcher(family), PAIRS[:60]
    exported(folder, tmp_path / "out", "sequence-classification")
    expected = Matcher.from_pretrained(folder).predict(pairs)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    batch = tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        np.testing.assert_allclose(model(**batch).logits[:, 0], expected, atol=1e-4)
    classify = pipeline("text-classification", model=str(tmp_path / "out"), device="cpu")
    rows = classify(
        [{"text": a, "text_pair": b} for a, b in pairs], truncation=True, function_to_apply="none", batch_size=8
    )
    assert {row["label"] for row in rows} == {"match"}
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=1e-4)
