"""Readout: A x from the ordinary forward pass, averaged over the tokens of a text."""

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.student.readout import find_readout_modules, linear_modules
from flipkd.student.rows import LEFT_TEXT, RIGHT_TEXT


def test_find_readout_modules_in_any_family(base_model):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_model)
    assert find_readout_modules(model, layers=[0, -1], modules=["q_proj", "down_proj"]) == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.down_proj",
        "model.layers.2.self_attn.q_proj",
        "model.layers.2.mlp.down_proj",
    ]
    assert find_readout_modules(model, layers=[2, -1], modules=["v_proj", "v_proj"]) == [
        "model.layers.2.self_attn.v_proj"
    ], "once, as its A is one parameter"
    assert set(linear_modules(model).values()) == {0, 1, 2}
    with pytest.raises(ConfigError, match="layers 0 to 2"):
        find_readout_modules(model, layers=[3], modules=["q_proj"])
    with pytest.raises(ConfigError, match="did you mean 'q_proj'"):
        find_readout_modules(model, layers=[0], modules=["q_porj"])


def test_readout_pooled_equals_plain_loops(make_student):
    student, contract = make_student(readout_layers=[0, -1])
    left, right = ["my card was stolen", "pin"], ["where is my transfer", "please close my account today"]
    batch = student.collate(left, right, return_embeddings=True)
    inputs = {}
    for name in contract.readout_places:
        layer = student.language_model.get_submodule(name)
        layer.register_forward_pre_hook(lambda _m, args, name=name: inputs.__setitem__(name, args[0].detach()))
    with torch.no_grad():
        output = student(batch)
    for vectors, kind in ((output.left, LEFT_TEXT), (output.right, RIGHT_TEXT)):
        for row in range(2):
            tokens = (batch["segment"][row] == kind).nonzero()[:, 0].tolist()
            parts = []
            for name in contract.readout_places:
                down = student.language_model.get_submodule(name).lora_A["default"].weight
                parts.append(sum(down @ inputs[name][row, token] for token in tokens) / len(tokens))
            expected = torch.cat(parts)
            torch.testing.assert_close(vectors[row], expected / expected.norm(), atol=1e-5, rtol=1e-4)
    assert output.left.shape == (2, 24)


def test_readout_refuses_a_module_without_lora(make_student):
    from flipkd.student.readout import Readout

    student, _ = make_student(lora_layers=[0], readout_layers=[0])
    with pytest.raises(ConfigError, match="has no LoRA"):
        Readout(student.language_model, ["model.layers.1.self_attn.q_proj"])


def test_readout_r_is_the_rank_of_readout_modules_only(make_student):
    student, contract = make_student(lora_r=2, readout_r=20)
    ranks = {n: m.r["default"] for n, m in student.language_model.named_modules() if hasattr(m, "lora_A")}
    scalings = {m.scaling["default"] for m in student.language_model.modules() if hasattr(m, "lora_A")}
    assert {n for n, r in ranks.items() if r == 20} == set(contract.readout_places)
    assert set(ranks.values()) == {2, 20}
    assert scalings == {4.0}
