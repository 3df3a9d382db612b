"""Vectors of texts by teacher folder, matcher and encoder: each text is embedded once, whoever holds the model."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import flipkd, given

from flipkd import Matcher
from flipkd.commands.text_vectors import require_vectors, text_vectors
from flipkd.errors import ConfigError
from flipkd.teachers.bi_encoder import BiEncoderTeacher

TEXTS = ["my card is lost", "close my account", "a fee of 3"]


@pytest.fixture
def embedded(monkeypatch):
    """The texts that a bi-encoder embeds from here on."""
    embed, found = BiEncoderTeacher.embed, []

    def counted(self, texts, **settings):
        found.extend(texts)
        return embed(self, texts, **settings)

    monkeypatch.setattr(BiEncoderTeacher, "embed", counted)
    return found


def test_text_vectors_embed_a_text_once_for_each_model(taught, with_teacher, encoders, tmp_path, embedded):
    store, found = tmp_path / "store", {}
    for encoder in (taught, with_teacher, str(encoders / "bi")):
        embedded.clear()
        first = text_vectors(encoder, TEXTS, store=store)
        # Other tests share the teacher's folder, so it may have some of the vectors.
        assert embedded == TEXTS or (encoder == taught and embedded == [text for text in TEXTS if text in embedded])
        embedded.clear()
        again = text_vectors(encoder, TEXTS[::-1], store=store)
        assert embedded == []
        np.testing.assert_array_equal(again[::-1], first)
        np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
        found[encoder] = first
    np.testing.assert_allclose(found[taught], found[with_teacher], atol=1e-5)


def test_text_vectors_of_a_matcher_that_encodes_texts_separately_embeds_them_itself(
    tiny_matcher, tmp_path, monkeypatch
):
    folder, store = tiny_matcher(reading="separate"), tmp_path / "store"
    first = text_vectors(str(folder), TEXTS, store=store)
    np.testing.assert_allclose(first, Matcher.from_pretrained(folder).encode(TEXTS), atol=1e-5)
    monkeypatch.delattr(Matcher, "encode")
    np.testing.assert_array_equal(text_vectors(str(folder), TEXTS, store=store), first)


def test_require_vectors_refuses_a_model_without_vectors(tiny_matcher, encoders, tmp_path, pair_files):
    with pytest.raises(ConfigError, match="keeps no bi-encoder"):
        require_vectors(str(tiny_matcher()))
    folder = str(tmp_path / "cross")
    words = ("--teacher_type", "cross_encoder", "--teacher_name_or_path", encoders / "cross", "--output_dir", folder)
    done = flipkd("teach", *given(pair_files), *words, "--fine_tune", "false")
    assert done.code == 0, done.err
    with pytest.raises(ConfigError, match="the teacher is a cross_encoder"):
        require_vectors(folder)
