"""The teacher from a tiny file: unit vectors, and a tokenizer that normalises as SentencePiece does."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from flipkd.models.e5 import save_sentence_transformer, tokenizer
from flipkd.models.e5_file import read_e5


@pytest.fixture
def teacher(tiny_e5, tmp_path):
    (tmp_path / "e5.bin").write_bytes(tiny_e5.content())
    folder = tmp_path / "teacher"
    folder.mkdir()
    save_sentence_transformer(read_e5(tmp_path / "e5.bin"), folder, lambda step: None)
    assert not list(folder.glob("tmp*"))
    return SentenceTransformer(str(folder), device="cpu")


def test_e5_encodes_as_mean_of_tokens_with_prompt(teacher):
    vectors = teacher.encode(["ABC123", "花呗"])
    assert vectors.shape == (2, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    tokens = teacher.encode("ABC123", output_value="token_embeddings").numpy().mean(0)
    np.testing.assert_allclose(vectors[0], tokens / np.linalg.norm(tokens), atol=1e-6)
    np.testing.assert_allclose(vectors[0], teacher.encode("query: ABC123", prompt=""), atol=1e-6)
    assert teacher.max_seq_length == 16


def test_e5_saves_the_weights_of_the_file(teacher, tiny_e5):
    state = teacher[0].auto_model.state_dict()
    np.testing.assert_array_equal(state["embeddings.word_embeddings.weight"], tiny_e5.tensors["emb.word"][1])
    assert not state["pooler.dense.weight"].any()


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("ＡＢＣ１２３", ["▁ABC", "123"]),
        ("ABC\n花呗\t", ["▁ABC", "▁花", "呗"]),
        ("ABC～123", ["▁ABC", "～", "123"]),
        ("  花呗", ["▁花", "呗"]),
    ],
)
def test_loaded_tokenizer_normalises(teacher, text, tokens):
    assert teacher.tokenizer.tokenize(text) == tokens


def test_tokenizer_frames_with_special_tokens(tiny_e5):
    pieces = [(piece.decode(), score) for piece, score in zip(tiny_e5.pieces, tiny_e5.scores, strict=True)]
    made = tokenizer(pieces, max_length=16)
    assert made("ABC")["input_ids"] == [0, 5, 2]
    assert made("ABC", "花")["input_ids"] == [0, 5, 2, 2, 8, 2]
    assert made("ABC", padding="max_length", max_length=5)["input_ids"] == [0, 5, 2, 1, 1]
    assert made("犬")["input_ids"][-2] == 3
