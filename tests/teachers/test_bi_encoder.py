"""BiEncoderTeacher: unit vectors, prompts, lengths."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.teachers.bi_encoder import BiEncoderTeacher, load_bi_encoder

TEXTS = ["loan1", "card2 card3 fee1 fee2", "rate7 loan1", "fee1"]


def test_bi_encoder_vectors_are_unit_float32_and_do_not_depend_on_order_or_batch(make_bi_encoder):
    teacher = load_bi_encoder(make_bi_encoder(), device="cpu", batch_size=2)
    vectors = teacher.embed(TEXTS)
    assert vectors.shape == (4, 16)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(teacher.embed(TEXTS[::-1])[::-1], vectors, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([teacher.embed([text]) for text in TEXTS]), vectors, atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


def test_load_bi_encoder_warns_of_a_folder_that_is_no_model_of_sentence_transformers(
    make_bi_encoder, cross_encoder_folder, caplog
):
    load_bi_encoder(make_bi_encoder(), device="cpu")
    assert not caplog.messages
    load_bi_encoder(cross_encoder_folder, device="cpu")
    assert "has no modules.json" in caplog.text


def test_embed_of_no_texts_has_the_right_width(make_bi_encoder):
    assert load_bi_encoder(make_bi_encoder(), device="cpu").embed([]).shape == (0, 16)


def test_load_bi_encoder_uses_the_prompt_of_the_model_or_another_one(make_bi_encoder):
    folder = make_bi_encoder(prompt="query: ")
    plain = load_bi_encoder(make_bi_encoder(), device="cpu")
    prompted = load_bi_encoder(folder, device="cpu")
    np.testing.assert_allclose(prompted.embed(TEXTS), plain.embed([f"query: {text}" for text in TEXTS]), atol=1e-6)
    assert np.abs(prompted.embed(TEXTS) - plain.embed(TEXTS)).max() > 1e-3
    np.testing.assert_array_equal(load_bi_encoder(folder, device="cpu", prompt="").embed(TEXTS), plain.embed(TEXTS))


def test_load_bi_encoder_max_length_truncates_the_text(make_bi_encoder):
    teacher = load_bi_encoder(make_bi_encoder(), device="cpu", max_length=4)  # [CLS] and [SEP] count
    a, b = teacher.embed(["loan1 card2 fee1 fee2", "loan1 card2 rate5"])
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vectors_are_unit_for_every_dtype(make_bi_encoder, dtype):
    vectors = load_bi_encoder(make_bi_encoder(), device="cpu", dtype=dtype).embed(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_bi_encoder_embed_gives_nan_for_a_vector_of_length_0(make_bi_encoder):
    import torch

    teacher = load_bi_encoder(make_bi_encoder(), device="cpu")
    with torch.no_grad():
        for parameter in teacher.model.parameters():
            parameter.zero_()
    assert np.isnan(BiEncoderTeacher(teacher.model, name="x").embed(["loan1"])).all()
