"""Load and hash a causal LM, and add LoRA to it; test_adapter.py and test_loading.py test saved adapters."""

from __future__ import annotations

import shutil

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from flipkd.config import StudentConfig
from flipkd.errors import ArtefactError, ConfigError, RefusedError
from flipkd.student.language_model import (
    DTYPES,
    add_lora,
    load_language_model,
    load_saved_tokenizer,
    load_tokenizer,
    weights_hash,
)


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def saved_tokenizers(request, base_models):
    """One folder's tokenizer, loaded by `load_saved_tokenizer` and by AutoTokenizer."""
    folder = base_models[request.param]
    return load_saved_tokenizer(folder), load_tokenizer(str(folder))


def test_load_language_model_freezes_and_casts(base_model):
    for name, dtype in DTYPES.items():
        model = load_language_model(str(base_model), dtype=name)
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert not any(p.requires_grad for p in model.parameters())
        assert not model.training
    assert load_tokenizer(str(base_model))("a")["input_ids"]
    with pytest.raises(ArtefactError, match="no tokenizer that transformers can load"):
        load_tokenizer(str(base_model.parent))


def test_weights_hash_depends_only_on_weights_and_dtype(base_models, tmp_path):
    model = load_language_model(str(base_models["llama"]), dtype="float32")
    known = weights_hash(model, dtype="float32")
    assert known.startswith("xxh3_128:float32:")
    copy = load_language_model(str(shutil.copytree(base_models["llama"], tmp_path / "moved")), dtype="float32")
    assert weights_hash(copy, dtype="float32") == known
    half = load_language_model(str(base_models["llama"]), dtype="bfloat16")
    assert weights_hash(half, dtype="bfloat16") == weights_hash(model, dtype="bfloat16") != known
    with torch.no_grad():
        next(copy.parameters())[0, 0] += 1e-3
    assert weights_hash(copy, dtype="float32") != known


@pytest.mark.parametrize(
    "settings, layers, modules",
    [
        ({}, {0, 1, 2}, 7),
        ({"lora_layers": [0]}, {0, 2}, 7),  # and always the readout module
        ({"lora_target_modules": ["v_proj"], "lora_layers": [-1]}, {2}, 2),
    ],
)
def test_add_lora_uses_the_chosen_modules_and_ranks(base_models, settings, layers, modules):
    model = load_language_model(str(base_models["qwen2"]), dtype="bfloat16")
    config = StudentConfig(lora_r=4, readout_r=6, readout_modules=["q_proj"], **settings)
    model, module_names = add_lora(model, config)
    assert len(module_names) == 1
    assert module_names[0].endswith("layers.2.self_attn.q_proj")
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name and p.dtype == torch.float32 for name, p in trainable.items())
    found = {name.split("layers.")[1].split(".lora_")[0] for name in trainable}
    assert {int(name.split(".")[0]) for name in found} == layers
    assert len({name.rsplit(".", 1)[1] for name in found}) == modules
    ranks = {name: p.shape[0] for name, p in trainable.items() if "lora_A" in name}
    assert {rank for name, rank in ranks.items() if module_names[0] in name} == {6}
    assert {rank for name, rank in ranks.items() if module_names[0] not in name} == {4}
    down = model.get_submodule(f"base_model.model.{module_names[0]}")
    assert down.scaling["default"] == config.lora_alpha / config.lora_r  # the same everywhere, whatever the rank


def test_add_lora_names_missing_layers_and_modules(base_models):
    for settings, message in (
        ({"readout_layers": [3]}, "readout_layers has layer 3; this model has layers 0 to 2"),
        ({"readout_modules": ["q_pro"]}, "did you mean 'q_proj'"),
        ({"lora_target_modules": ["qproj"]}, "did you mean 'q_proj'"),
        ({"lora_layers": [0, 22]}, "lora_layers has layer 22; this model has layers 0 to 2"),
    ):
        model = load_language_model(str(base_models["llama"]), dtype="float32")
        with pytest.raises(ConfigError, match=message):
            add_lora(model, StudentConfig(**settings))


@pytest.mark.scenario("X1")
def test_load_language_model_refuses_truncated_missing_and_pickled_weights(base_models, tmp_path):
    for name in ("cut", "none", "pickled"):
        folder = shutil.copytree(base_models["llama"], tmp_path / name)
        weights = folder / "model.safetensors"
        if name == "cut":
            weights.write_bytes(weights.read_bytes()[:1000])
        else:
            weights.unlink()
        if name == "pickled":
            torch.save({}, folder / "pytorch_model.bin")
        error, message = ArtefactError, f"{folder}: not a causal LM that transformers can load"
        if name == "pickled":
            error, message = RefusedError, "pytorch_model.bin: pickled weights are not read"
        with pytest.raises(error, match=message):
            load_language_model(str(folder), dtype="float32")


def test_load_language_model_names_a_missing_tensor(base_models, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(base_models["llama"], tmp_path / "incomplete")
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtefactError, match=r"1 tensors of the model are missing, first .*layers\.1\.mlp\.up_proj"):
        load_language_model(str(folder), dtype="float32")


@hypothesis.given(st.text(max_size=40) | st.sampled_from(["<think>", "a<bos>b", "<eos><pad>", "\u3000 NA\n"]))
@hypothesis.settings(deadline=None)
def test_load_saved_tokenizer_equals_auto_tokenizer(saved_tokenizers, text):
    ours, theirs = saved_tokenizers
    for split in (False, True):
        found, expected = (t([text], add_special_tokens=False, split_special_tokens=split) for t in (ours, theirs))
        assert found["input_ids"] == expected["input_ids"]


def test_load_saved_tokenizer_has_the_special_tokens(saved_tokenizers, tmp_path):
    ours, theirs = saved_tokenizers
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(ours, name) == getattr(theirs, name) is not None
    assert {i: str(t) for i, t in ours.added_tokens_decoder.items()} == {
        i: str(t) for i, t in theirs.added_tokens_decoder.items()
    }
    with pytest.raises(ArtefactError, match="no tokenizer that transformers can load"):
        load_saved_tokenizer(tmp_path)
    ours.save_pretrained(tmp_path)
    assert load_saved_tokenizer(tmp_path)("my card")["input_ids"] == ours("my card")["input_ids"]


def test_add_lora_says_which_modules_peft_refuses():
    from transformers import Mamba2Config, Mamba2ForCausalLM

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1}
    model = Mamba2ForCausalLM(Mamba2Config(vocab_size=16, **shape))
    config = StudentConfig(model_name_or_path="mamba", readout_modules=["in_proj"])
    with pytest.raises(ConfigError, match=r"peft does not adapt these modules of Mamba2ForCausalLM \(.*'out_proj'"):
        add_lora(model, config)
