"""sentence-transformers: CrossEncoder gives the calibrated probabilities of the matcher, for single pairs, lists and ranks."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from tiny_matchers import PAIRS, TABLE, exported

from flipkd.matcher import Matcher


@pytest.mark.parametrize("reading", ["joint", "separate"])
@pytest.mark.parametrize("family", ["gemma3", "llama"])
def test_predict_of_the_export_is_the_probability_of_the_matcher(tiny_matcher, tmp_path, family, reading):
    folder = tiny_matcher(family, reading)
    exported(folder, tmp_path / "out", "sentence-transformers")
    model, matcher = CrossEncoder(str(tmp_path / "out"), device="cpu"), Matcher.from_pretrained(folder)
    expected = matcher.predict_proba(PAIRS)
    np.testing.assert_allclose(model.predict(PAIRS), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(PAIRS, batch_size=3), expected, atol=1e-5)
    assert model.predict(PAIRS[0]) == pytest.approx(expected[0], abs=1e-5)
    query, documents = PAIRS[0][0], [right for _, right in PAIRS[:8]]
    mine, theirs = matcher.rank(query, documents), model.rank(query, documents)
    assert [row["corpus_id"] for row in theirs] == [row["corpus_id"] for row in mine]


def test_the_weight_of_the_answer_is_a_part_of_the_calibration(tiny_matcher, tmp_path):
    folder = tiny_matcher(score={"answer": 0.5})
    exported(folder, tmp_path / "out", "sentence-transformers")
    found = CrossEncoder(str(tmp_path / "out"), device="cpu").predict(PAIRS[:8])
    np.testing.assert_allclose(found, Matcher.from_pretrained(folder).predict_proba(PAIRS[:8]), atol=1e-5)


def test_the_export_of_qwen2_scores_normal_texts(tiny_matcher, tmp_path):
    folder = tiny_matcher("qwen2")
    result = exported(folder, tmp_path / "out", "sentence-transformers")
    assert any("normal_text" in limit for limit in result["limits"])
    model = CrossEncoder(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(
        model.predict(PAIRS[:60]), Matcher.from_pretrained(folder).predict_proba(PAIRS[:60]), atol=1e-5
    )


def test_an_evaluator_of_sentence_transformers_takes_the_export(tiny_matcher, tmp_path):
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderClassificationEvaluator
    from sklearn.metrics import average_precision_score

    folder, pairs, labels = tiny_matcher("llama", "separate"), PAIRS[:60], TABLE.label.tolist()
    exported(folder, tmp_path / "out", "sentence-transformers")
    evaluate = CrossEncoderClassificationEvaluator(sentence_pairs=pairs, labels=labels, write_csv=False)
    found = evaluate(CrossEncoder(str(tmp_path / "out"), device="cpu"))
    expected = average_precision_score(labels, Matcher.from_pretrained(folder).predict(pairs))
    assert found["average_precision"] == pytest.approx(expected, abs=1e-6)
