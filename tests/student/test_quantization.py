"""4-bit base models: equal to those of transformers; trained, saved, loaded and merged. Skipped without bitsandbytes."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from tiny import randomise, student_config

from flipkd.errors import ConfigError
from flipkd.files import new_folder
from flipkd.student import quantization
from flipkd.student.language_model import load_language_model
from flipkd.student.loading import load_student
from flipkd.student.memory import shape_of, training_memory
from flipkd.student.quantization import INSTALL, quantize_4bit
from flipkd.student.readout import linear_modules
from flipkd.student.scoring import encode_texts, score_pairs

FAMILIES = ("qwen2", "llama", "gemma3")
READINGS = ("joint", "separate", "blocked")
LEFT = ["my card was stolen yesterday", "pin", "where is my transfer"]
RIGHT = ["the machine kept my card", "can I change the pin of my card", "fee"]

installed = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason=f"bitsandbytes is not installed: {INSTALL}"
)


def loss_of(student):
    output = student(student.collate(LEFT, RIGHT, return_embeddings=True))
    return output.answers.square().sum() + (output.left * output.right).sum()


@installed
@pytest.mark.parametrize("family", FAMILIES)
def test_quantize_4bit_equals_transformers(base_models, family):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    theirs = AutoModelForCausalLM.from_pretrained(
        base_models[family],
        dtype=torch.bfloat16,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
    )
    ours = load_language_model(str(base_models[family]), dtype="bfloat16")
    quantize_4bit(ours, dtype=torch.bfloat16, device="cpu")
    expected, found = dict(theirs.named_parameters()), dict(ours.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    packed = {name for name, parameter in found.items() if parameter.dtype == torch.uint8}
    assert packed == {f"{name}.weight" for name in linear_modules(ours)}
    for name in linear_modules(ours):
        mine, other = (model.get_submodule(name).weight.quant_state for model in (ours, theirs))
        assert torch.equal(mine.absmax, other.absmax)
        assert mine.nested
        assert mine.quant_type == "nf4"


@installed
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("merge", [False, True])
def test_load_student_in_4_bits_gives_the_same_scores(make_student, tmp_path, family, reading, merge):
    student, contract = make_student(family, reading=reading, load_in_4bit=True)
    randomise(student)
    before, vectors = score_pairs(student, LEFT, RIGHT, return_embeddings=True), encode_texts(student, LEFT)
    with new_folder(tmp_path / "m") as folder:
        student.save(folder, contract)
    loaded, read = load_student(tmp_path / "m", merge=merge)
    after = score_pairs(loaded, LEFT, RIGHT, return_embeddings=True)
    assert after.answer == pytest.approx(before.answer, abs=1e-4)
    assert after.cosine == pytest.approx(before.cosine, abs=1e-4)
    assert encode_texts(loaded, LEFT) == pytest.approx(vectors, abs=1e-4)
    assert read == contract
    assert read.load_in_4bit
    kinds = {parameter.dtype for name, parameter in loaded.named_parameters() if "layers" in name}
    assert (torch.uint8 in kinds) is not merge
    if merge:
        assert not any("lora" in name for name, _ in loaded.named_parameters())


@installed
def test_base_model_hash_in_4_bits_is_that_of_the_original(make_student):
    original, four = make_student("llama")[1], make_student("llama", load_in_4bit=True)[1]
    assert original.base_model_hash == four.base_model_hash
    assert not original.load_in_4bit


@installed
@pytest.mark.parametrize("family", FAMILIES)
def test_quantize_4bit_gradients_equal_those_of_simulate_4bit(make_student, base_models, family, monkeypatch):
    """A model with plain layers and weights rounded to 4 bits gives the same loss and gradients."""
    found = []
    for quantize in (quantize_4bit, lambda model, *, dtype, device: quantization.simulate_4bit(model, device=device)):
        monkeypatch.setattr("flipkd.student.loading.quantize_4bit", quantize)
        student = randomise(make_student(family, load_in_4bit=True)[0]).train()
        score_pairs(student, LEFT, RIGHT)  # scoring comes before training and must not change the weights
        loss = loss_of(student.train())
        loss.backward()
        gradients = {name: p.grad for name, p in student.named_parameters() if p.requires_grad}
        found.append((loss, gradients))
    (loss, gradients), (expected, others) = found
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        assert gradient.any(), name
        torch.testing.assert_close(gradient, others[name], atol=1e-4 * float(others[name].abs().max()), rtol=1e-3)


@installed
@pytest.mark.parametrize("reading", READINGS)
def test_quantize_4bit_with_activation_checkpointing(make_student, reading):
    found = []
    for checkpointing in (False, True):
        student = randomise(make_student("qwen2", reading=reading, load_in_4bit=True)[0]).train()
        if checkpointing:
            student.language_model.activation_checkpointing_enable()
        loss_of(student).backward()
        found.append([p.grad for p in student.parameters() if p.requires_grad])
    assert len(found[0]) > 20
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@installed
@pytest.mark.parametrize("family", FAMILIES)
def test_training_memory_of_4_bit_weights(base_models, family):
    from transformers import AutoConfig

    model = load_language_model(str(base_models[family]), dtype="bfloat16")
    quantize_4bit(model, dtype=torch.bfloat16, device="cpu")
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    for name in linear_modules(model):
        state = model.get_submodule(name).weight.quant_state
        size += state.absmax.numel() + 4 * state.state2.absmax.numel()
    shape = shape_of(AutoConfig.from_pretrained(base_models[family]), student_config(base_models[family]))
    expected = training_memory(shape, tokens=0, load_in_4bit=True).weights
    assert size == pytest.approx(expected, rel=0.01)


@installed
def test_quantize_4bit_refuses_a_quantized_model(base_models):
    model = load_language_model(str(base_models["llama"]), dtype="bfloat16")
    quantize_4bit(model, dtype=torch.bfloat16, device="cpu")
    with pytest.raises(ConfigError, match="quantized already"):
        quantize_4bit(model, dtype=torch.bfloat16, device="cpu")


def test_require_bitsandbytes_gives_the_install_command(make_student, monkeypatch):
    monkeypatch.setattr(quantization, "PACKAGE", "no_such_package_of_ours")
    with pytest.raises(ConfigError, match=r'load_in_4bit needs .*; run pip install "flipkd\[bnb\]"'):
        make_student("llama", load_in_4bit=True)
