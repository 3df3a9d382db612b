"""Modules whose A x at text tokens changes the answer: the gradient, added noise and the model's structure agree."""

from __future__ import annotations

import pytest
import torch
from tiny import FAMILY_AND_READING, build_tokenizer, randomise, student_config

from flipkd.errors import ConfigError
from flipkd.student.answer_path import modules_reaching_answer, require_path_to_answer
from flipkd.student.attention import GROUPED, PACKED
from flipkd.student.loading import new_student
from flipkd.student.rows import LEFT_TEXT, RIGHT_TEXT

LAST = 2  # of the layers 0 to 2
LEFT = ["my card was stolen yesterday", "pin", "where is my transfer"]
RIGHT = ["the machine kept my card", "can I change the pin of my card", "fee"]
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
EXPECTED = {
    f"model.layers.{layer}.{part}.{name}"
    for layer in range(LAST + 1)
    for part, names in (("self_attn", ATTENTION), ("mlp", MLP))
    for name in names
    if layer < LAST or name in ("k_proj", "v_proj")
}


def layers_with_lora(student):
    return [name for name, module in student.language_model.named_modules() if hasattr(module, "lora_A")]


def change_by_noise(student, name, *, segments=(LEFT_TEXT, RIGHT_TEXT)) -> float:
    """Return the largest change of the answers when noise is added to A x of module `name` at tokens of `segments`."""
    batch = student.collate(LEFT, RIGHT, return_embeddings=False)
    segment = batch["segment"]
    has_noise = sum(segment == kind for kind in segments).bool()
    if "scatter" in batch:
        has_noise = has_noise.flatten()[batch["scatter"]][None]

    def hook(module, inputs, output):
        noise = torch.randn(*output.shape[:2], module.r["default"], generator=torch.Generator().manual_seed(0))
        up = module.scaling["default"] * module.lora_B["default"].weight
        return output + (noise * has_noise[:, :, None]) @ up.T

    with torch.no_grad():
        before = student(batch, return_embeddings=False).answers
        handle = student.language_model.get_submodule(name).register_forward_hook(hook)
        after = student(batch, return_embeddings=False).answers
        handle.remove()
    return float((after - before).abs().max())


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_modules_reaching_answer_are_those_whose_noise_changes_the_answer(make_student, family, reading):
    student, _ = make_student(family, reading=reading, attn_implementation=PACKED if reading == "joint" else GROUPED)
    found = modules_reaching_answer(student)
    assert found == EXPECTED
    randomise(student)
    assert modules_reaching_answer(student) == EXPECTED, "the values of B do not matter"
    for name in layers_with_lora(student):
        change = change_by_noise(student, name)
        assert change > 1e-4 if name in found else change == 0, (name, change)


def test_student_answer_changes_by_noise_in_either_text(make_student):
    student, _ = make_student("llama", reading="blocked")
    randomise(student)
    for side in (LEFT_TEXT, RIGHT_TEXT):
        assert change_by_noise(student, "model.layers.2.self_attn.v_proj", segments=(side,)) > 1e-4


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_modules_reaching_answer_are_those_with_a_gradient(make_student, family, reading):
    """d(answer) / d(A x) at the texts' tokens of a batch, as training sees it."""
    student, _ = make_student(family, reading=reading)
    randomise(student)
    batch, captured = student.collate(LEFT, RIGHT, return_embeddings=True), {}
    is_text = (batch["segment"] == LEFT_TEXT) | (batch["segment"] == RIGHT_TEXT)

    def make_hook(name):
        def hook(module, inputs, output):
            if output.shape[0] == len(LEFT):  # the pass of the pairs; in separate reading that of the texts follows
                output.retain_grad()
                captured[name] = output
            return output

        return hook

    for name in layers_with_lora(student):
        student.language_model.get_submodule(name).register_forward_hook(make_hook(name))
    answers = student(batch).answers
    (answers[:, 1] - answers[:, 0]).sum().backward()
    for name, output in captured.items():
        layer = student.language_model.get_submodule(name)
        gradient = output.grad[is_text] @ (layer.scaling["default"] * layer.lora_B["default"].weight)
        assert gradient.abs().amax(1).gt(0).all() if name in EXPECTED else not gradient.any(), name
    assert len(captured) == 3 * len(ATTENTION + MLP)


def test_require_path_to_answer_refuses_other_readout_modules(make_student, base_model):
    readout = {"readout_layers": [0, -1], "readout_modules": ["up_proj"]}
    with pytest.raises(ConfigError) as raised:
        make_student(base_model.name, **readout, allow_readout_off_path=False)
    message = str(raised.value)
    assert "the readout at model.layers.2.mlp.up_proj cannot reach the answer" in message
    assert "Set readout_modules to some of k_proj, v_proj with readout_layers=[2]" in message
    assert "allow_readout_off_path" in message
    student, contract = make_student(base_model.name, **readout, allow_readout_off_path=True)
    assert len(contract.readout_places) == 2
    with pytest.raises(ConfigError, match="cannot reach the answer"):
        require_path_to_answer(student)


def test_modules_reaching_answer_leaves_no_hooks_and_gradients(make_student):
    student, _ = make_student("llama")
    student.train()
    modules_reaching_answer(student)
    assert not any(module._forward_hooks for module in student.modules())
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())


def other_model(kind):
    from transformers import (
        Gemma4ForCausalLM,
        Gemma4TextConfig,
        GPT2Config,
        GPT2LMHeadModel,
        Phi3Config,
        Phi3ForCausalLM,
    )

    shape = {"vocab_size": len(build_tokenizer()), "hidden_size": 32, "num_hidden_layers": 3, "pad_token_id": 0}
    shape |= {"num_attention_heads": 4, "initializer_range": 0.15, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**shape))
    shape |= {"num_key_value_heads": 2, "intermediate_size": 48}
    if kind == "phi3":
        return Phi3ForCausalLM(Phi3Config(**shape))
    shape |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": shape["vocab_size"]}
    small = {"head_dim": 8, "global_head_dim": 8, "num_kv_shared_layers": 1}
    kinds = ["sliding_attention", "full_attention", "full_attention"]  # the last reuses the keys of the one before
    return Gemma4ForCausalLM(Gemma4TextConfig(**shape, **small, layer_types=kinds))


@pytest.fixture(params=["gpt2", "phi3", "gemma4"])
def make_other(request, tmp_path):
    """`make(layer, module)` -> a student over a model with fused or reused keys and values."""
    other_model(request.param).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)

    def make(layer, module):
        readout = {"readout_layers": [layer], "readout_modules": [module], "allow_readout_off_path": True}
        return new_student(student_config(tmp_path, **readout))[0]

    return request.param, make


def test_modules_reaching_answer_with_fused_and_reused_keys_and_values(make_other):
    kind, make = make_other
    if kind == "gemma4":
        with pytest.raises(ConfigError, match=r"layer 2 of this model has no module 'v_proj'; it has .*q_proj"):
            make(-1, "v_proj")
        student = make(-1, "q_proj")
        with pytest.raises(ConfigError, match=r"some of .*k_proj, .*v_proj with readout_layers=\[1\]"):
            require_path_to_answer(student)
    else:
        student = make(-1, fused := {"gpt2": "c_attn", "phi3": "qkv_proj"}[kind])
        require_path_to_answer(student)
        last = {name.rsplit(".", 1)[-1] for name in modules_reaching_answer(student) if ".2." in name}
        assert last == {fused}
    randomise(student)
    found = modules_reaching_answer(student)
    for name in layers_with_lora(student):
        change = change_by_noise(student, name)
        assert change > 1e-4 if name in found else change == 0, (name, change)
