"""gguf: the file has the tensors of the merged model in llama.cpp's conventions, and llama.cpp gives the scores."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gguf import GGUFReader, dequantize
from tiny_matchers import PAIRS, exported

from flipkd.exports import gguf
from flipkd.exports.source import Source
from flipkd.matcher import Matcher
from flipkd.student.contract import read_contract

HAS_LLAMA_CPP = importlib.util.find_spec("llama_cpp") is not None
needs_llama_cpp = pytest.mark.skipif(
    not HAS_LLAMA_CPP,
    reason='llama-cpp-python is not installed: pip install "flipkd[gguf]" compiles it in half an hour',
)
FAMILIES = ("gemma3", "llama", "qwen2")


@needs_llama_cpp
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_llama_cpp_gives_the_ids_and_scores_of_the_matcher(tiny_matcher, tmp_path, family, dtype):
    result = exported(tiny_matcher(family), tmp_path / "out", "gguf", dtype=dtype)
    assert (result["ids_equal"], result["beyond"]) == (12, [])
    assert result["largest_difference"] < (0.01 if dtype == "float32" else 0.3)


@needs_llama_cpp
def test_scorer_tokenises_unusual_texts_as_the_matcher(tiny_matcher, tmp_path):
    folder = tiny_matcher("llama")
    exported(folder, tmp_path / "out", "gguf", dtype="float32")
    matcher, scorer = Matcher.from_pretrained(folder), gguf.LlamaCppScorer(tmp_path / "out", read_contract(folder))
    pairs = [*PAIRS, ("what  is\n<think> this <eos>", "it's 12345"), ("my card was stolen " * 30, "x")]
    left, right = [list(side) for side in zip(*pairs, strict=True)]
    assert scorer.token_ids(left, right) == [row.ids for row in matcher.student.prompt.pair_rows(left, right)]
    np.testing.assert_allclose(scorer.scores(left, right), matcher.predict(pairs), atol=0.01)
    scorer.model.close()


@pytest.fixture(scope="module")
def written(tiny_matcher, tmp_path_factory):
    """`written(family, dtype)` -> tensors and fields of the file, and the merged model."""

    def write(family, dtype="float32"):
        folder, out = tiny_matcher(family), tmp_path_factory.mktemp("gguf")
        source = Source(Matcher.from_pretrained(folder), folder, dtype)
        gguf.write(source, out)
        reader = GGUFReader(out / gguf.MODEL)
        tensors = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
        return tensors, reader, source.matcher.student.language_model

    return write


@pytest.mark.parametrize("family", FAMILIES)
def test_write_stores_every_tensor_once(written, family):
    tensors, reader, model = written(family)
    architecture = reader.fields["general.architecture"].contents()
    assert architecture == gguf.ARCHITECTURES[model.config.model_type]
    assert reader.fields[f"{architecture}.block_count"].contents() == 3
    count = sum(parameter.numel() for parameter in model.parameters())
    assert sum(array.size for array in tensors.values()) == count
    up = model.get_decoder().layers[1].mlp.up_proj.weight
    np.testing.assert_array_equal(tensors["blk.1.ffn_up.weight"], up.detach().numpy())


def test_gguf_write_stores_the_factor_of_the_norms_of_gemma(written):
    tensors, reader, model = written("gemma3")
    norm = model.get_decoder().norm.weight.detach().numpy()
    np.testing.assert_array_equal(tensors["output_norm.weight"], norm + 1)
    assert reader.fields["gemma3.attention.sliding_window"].contents() == 384
    assert reader.fields["gemma3.rope.freq_base_swa"].contents() == 10_000


def test_write_interleaves_the_halves_of_the_heads_of_llama(written):
    """Row 2i of a head is row i of transformers, row 2i + 1 is row i + half."""
    tensors, _, model = written("llama")
    key = model.get_decoder().layers[0].self_attn.k_proj.weight.detach().numpy()
    width = len(key) // model.config.num_key_value_heads
    order = [
        head + half + row
        for head in range(0, len(key), width)
        for row in range(width // 2)
        for half in (0, width // 2)
    ]
    np.testing.assert_array_equal(tensors["blk.0.attn_k.weight"], key[order])


def test_gguf_write_int8_keeps_norms_and_rows_that_cannot_be_split(written):
    _, reader, _ = written("qwen2", "int8")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == "Q8_0"  # rows of 32
    assert kinds["blk.0.ffn_down.weight"] == "F16"  # rows of 48
    assert kinds["blk.0.attn_norm.weight"] == kinds["blk.0.attn_q.bias"] == "F32"


def test_rope_factors_divide_the_default_frequencies():
    own = torch.tensor([1.0, 0.01, 0.0001])
    rotary = SimpleNamespace(inv_freq=own)
    config = SimpleNamespace(rope_parameters={"rope_type": "llama3", "rope_theta": 1000.0})
    model = SimpleNamespace(get_decoder=lambda: SimpleNamespace(rotary_emb=rotary), config=config)
    torch.testing.assert_close(gguf._rope_factors(model), torch.tensor([1.0, 10.0, 100.0]))


def test_refusal_names_what_llama_cpp_runs_differently(tiny_matcher, base_models):
    from transformers import AutoConfig

    contract = read_contract(tiny_matcher("llama"))
    llama, gemma = (AutoConfig.from_pretrained(base_models[family]) for family in ("llama", "gemma3"))
    assert gguf.refusal(contract, llama) is None
    assert gguf.refusal(contract, gemma) is None
    assert "blocked reading" in gguf.refusal(contract.model_copy(update={"reading": "blocked"}), llama)
    assert "--score answer" in gguf.refusal(contract.model_copy(update={"score": {"cosine": 1.0}}), llama)
    gemma.layer_types = ["full_attention"] * 3
    assert "other layer types" in gguf.refusal(contract, gemma)
    llama.rope_parameters = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
    assert "rope scaling yarn" in gguf.refusal(contract, llama)
    llama.model_type = "gpt2"
    assert "form of a gpt2" in gguf.refusal(contract, llama)
