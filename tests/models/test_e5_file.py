"""read_e5: the exact values of the file, and an error position for an invalid file."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flipkd.errors import ArtefactError
from flipkd.models.e5_file import read_e5


@pytest.fixture
def file(tmp_path):
    return tmp_path / "e5.bin"


def test_read_e5_round_trip(tiny_e5, file):
    file.write_bytes(tiny_e5.content())
    read = read_e5(file)
    assert read.sizes[:7] == tuple(tiny_e5.sizes)
    assert [text.encode() for text, _ in read.pieces] == tiny_e5.pieces
    assert [score for _, score in read.pieces] == tiny_e5.scores
    assert len(read.weights) == len(tiny_e5.tensors)
    for name, ours in (
        ("embeddings.word_embeddings.weight", "emb.word"),
        ("embeddings.LayerNorm.bias", "emb.ln.b"),
        ("encoder.layer.1.attention.self.key.weight", "l1.k.w"),
        ("encoder.layer.0.attention.output.LayerNorm.weight", "l0.aln.w"),
        ("encoder.layer.0.intermediate.dense.weight", "l0.fi.w"),
        ("encoder.layer.1.output.dense.bias", "l1.fo.b"),
    ):
        assert read.weights[name].dtype == np.float32
        np.testing.assert_array_equal(read.weights[name], tiny_e5.tensors[ours][1])


def test_read_e5_gives_the_weights_of_bert(tiny_e5, file):
    from transformers import BertConfig, BertModel

    file.write_bytes(tiny_e5.content())
    read = read_e5(file)
    config = BertConfig(
        vocab_size=14, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16,
    )  # fmt: skip
    expected = {name: tuple(value.shape) for name, value in BertModel(config, False).state_dict().items()}
    assert {name: value.shape for name, value in read.weights.items()} == expected


def spoil(name):
    def change(e5):
        match name:
            case "magic":
                e5.magic = b"GGUF"
            case "version":
                e5.version = 2
            case "special ids":
                e5.special = (0, 1, 2, 3)
            case "width":
                e5.sizes[0] = 33
            case "no layers":
                e5.sizes[1] = 0
            case "heads":
                e5.sizes[2] = 3
            case "fewer rows than pieces":
                e5.sizes[4] = 5
            case "negative":
                e5.sizes[5] = -16
            case "more layers than tensors":
                e5.sizes[1] = 2**31 - 1
            case "other shape":
                e5.sizes[3] = 96
            case "twice":
                e5.pieces[6] = e5.pieces[5]
            case "not utf-8":
                e5.pieces[6] = b"\xff\xfe"
            case "special piece":
                e5.pieces[0] = b"[CLS]"
            case "tensor missing":
                del e5.tensors["l1.v.w"]
            case "tensor short":
                e5.tensors["l1.v.b"] = (0, e5.tensors["l1.v.b"][1], b"")
            case "unknown kind":
                e5.tensors["emb.pos"] = (9, *e5.tensors["emb.pos"][1:])

    return change


@pytest.mark.parametrize(
    "name, message",
    [
        ("magic", "does not start with"),
        ("version", "version 2"),
        ("special ids", "special ids"),
        ("width", "width=33"),
        ("no layers", "layers=0"),
        ("heads", "heads=3"),
        ("fewer rows than pieces", "vocabulary=5"),
        ("negative", "positions=-16"),
        ("more layers than tensors", "no tensor 'l2.q.w'"),
        ("other shape", "'l0.fi.w'"),
        ("twice", "a duplicate piece"),
        ("not utf-8", "not UTF-8"),
        ("special piece", "other special tokens"),
        ("tensor missing", "'l1.v.w'"),
        ("tensor short", "'l1.v.b'"),
        ("unknown kind", "kind 9"),
    ],
)
def test_read_e5_refuses_a_malformed_file(tiny_e5, file, name, message):
    spoil(name)(tiny_e5)
    file.write_bytes(tiny_e5.content())
    with pytest.raises(ArtefactError, match=message) as caught:
        read_e5(file)
    assert f"{file}: byte " in str(caught.value)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_read_e5_refuses_a_truncated_file(tiny_e5, file, share):
    content = tiny_e5.content()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtefactError):
        read_e5(file)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2_000), value=st.integers(0, 255))
def test_read_e5_reads_or_refuses_any_wrong_byte(tiny_e5, file, at, value):
    content = bytearray(tiny_e5.content())
    content[at] = value
    file.write_bytes(content)
    with suppress(ArtefactError):
        assert len(read_e5(file).weights) == len(tiny_e5.tensors)


def test_read_e5_refuses_nan_and_infinity(tiny_e5, file):
    content = bytearray(tiny_e5.content())
    found = []
    for value in range(256):
        content[645] = value  # part of a block's scale; some values make it infinite
        file.write_bytes(content)
        try:
            found.append(all(np.isfinite(tensor).all() for tensor in read_e5(file).weights.values()))
        except ArtefactError as error:
            found.append("NaN or infinity" in str(error))
    assert all(found)
