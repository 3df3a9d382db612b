"""text-encoder: sentence-transformers alone gives the vectors of `Matcher.encode`, and its evaluators run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)
from tiny import build_model
from tiny_matchers import PAIRS, exported

from flipkd.errors import ConfigError
from flipkd.exports.text_encoder import _cut, refusal
from flipkd.matcher import Matcher
from flipkd.student.contract import read_contract

TEXTS = [
    *sorted({text for pair in PAIRS for text in pair}),
    "?what  is\n<think> this <eos> ",
    "Do two texts match?\nA:\n my card",  # it begins with the template
    "my card was stolen " * 20,  # longer than max_text_length
]


@pytest.mark.parametrize("family, reading", [("gemma3", "separate"), ("llama", "blocked"), ("qwen2", "separate")])
def test_encode_gives_the_vectors_of_the_matcher(tiny_matcher, tmp_path, family, reading):
    folder = tiny_matcher(family, reading)
    result = exported(folder, tmp_path / "out", "text-encoder")
    assert (result["ids_equal"], result["beyond"]) == (12, [])
    assert "SentenceTransformer(FOLDER).encode" in (tmp_path / "out" / "README.md").read_text()
    model, expected = (
        SentenceTransformer(str(tmp_path / "out"), device="cpu"),
        Matcher.from_pretrained(folder).encode(TEXTS),
    )
    for encode in (model.encode, model.encode_query, model.encode_document):
        np.testing.assert_allclose(encode(TEXTS, batch_size=7), expected, atol=1e-5)
    assert model.get_embedding_dimension() == expected.shape[1]
    np.testing.assert_allclose(model.similarity(expected, expected), expected @ expected.T, atol=1e-5)


def test_evaluators_of_the_library_measure_the_export_as_the_matcher(tiny_matcher, tmp_path):
    folder = tiny_matcher("llama", "separate")
    exported(folder, tmp_path / "out", "text-encoder")
    model, matcher = SentenceTransformer(str(tmp_path / "out"), device="cpu"), Matcher.from_pretrained(folder)
    left, right = [list(side) for side in zip(*PAIRS[:40], strict=True)]
    cosines = (matcher.encode(left) * matcher.encode(right)).sum(1)
    found = EmbeddingSimilarityEvaluator(left, right, cosines.tolist())(model)
    assert found["pearson_cosine"] == pytest.approx(1, abs=1e-6)
    queries, corpus = {"q": left[0]}, {str(number): text for number, text in enumerate(sorted(set(right)))}
    best = str(int((matcher.encode(list(corpus.values())) @ matcher.encode([left[0]])[0]).argmax()))
    ranked = InformationRetrievalEvaluator(queries, corpus, {"q": {best}})(model)
    assert ranked["cosine_accuracy@1"] == 1


def test_the_cut_model_ends_with_the_input_of_the_readout():
    """The norms of the tiny models are all alike; here they are not."""
    model = build_model("gemma3", vocabulary=50)
    layer = model.get_decoder().layers[1]
    with torch.no_grad():
        layer.input_layernorm.weight.normal_()
    captured = []
    layer.self_attn.v_proj.register_forward_pre_hook(lambda _module, inputs: captured.append(inputs[0]))
    ids = torch.tensor([[3, 5, 7, 11]])
    with torch.no_grad():
        model(ids)
        cut = _cut(model, 1)(ids).last_hidden_state
    torch.testing.assert_close(cut, captured[0])


def test_refusal_names_what_no_cut_of_the_model_gives(tiny_matcher):
    from types import SimpleNamespace

    llama = SimpleNamespace(model_type="llama")
    contract = read_contract(tiny_matcher("llama", "separate"))
    assert refusal(contract, llama) is None
    assert "joint reading" in refusal(contract.model_copy(update={"reading": "joint"}), llama)
    places = ["model.layers.1.self_attn.v_proj", "model.layers.2.self_attn.v_proj"]
    assert "of one layer" in refusal(contract.model_copy(update={"readout_places": places}), llama)
    places = ["model.layers.1.mlp.up_proj"]
    assert "of one layer" in refusal(contract.model_copy(update={"readout_places": places}), llama)
    assert "model type gpt2" in refusal(contract, SimpleNamespace(model_type="gpt2"))


def test_text_encoder_export_of_joint_reading_writes_nothing(tiny_matcher, tmp_path):
    with pytest.raises(ConfigError, match="text-encoder: joint reading"):
        exported(tiny_matcher("llama"), tmp_path / "out", "text-encoder")
    assert not (tmp_path / "out").exists()
