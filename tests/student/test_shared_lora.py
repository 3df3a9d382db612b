"""Layers with the same input tensor: the formula, how they are found, other calls of them, memory."""

from __future__ import annotations

import gc
import weakref
from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import layer as peft_layer
from torch import nn
from torch.utils.checkpoint import checkpoint

from flipkd.files import new_folder
from flipkd.student.loading import load_student
from flipkd.student.lora import Adapters, FusedLinear, fuse
from flipkd.student.shared_lora import LoraProducts

LEFT, RIGHT = ["my card was stolen", "pin"], ["where is my transfer", "fee"]


class Block(nn.Module):
    """Four layers of one input size; those in `order` are called with x, `d` always with tanh of the output of `a`."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 4, bias=False), nn.Linear(8, 6)
        self.d = nn.Linear(8, 8)
        self.order = "abc"

    def forward(self, x):
        made = {name: getattr(self, name)(x) for name in self.order}
        return torch.cat([*(made[name] for name in sorted(made)), self.d(torch.tanh(made["a"]))], dim=-1)


def build(**settings):
    """(block with random LoRA, its adapters) after a pass that found the siblings."""
    torch.manual_seed(0)
    settings = {"target_modules": ["a", "b", "c", "d"], "rank_pattern": {"b": 5}, "r": 3} | settings
    model = get_peft_model(Block(), LoraConfig(lora_alpha=8, init_lora_weights=False, **settings))
    fuse(model)
    adapters = Adapters(model)
    with torch.no_grad():
        adapters.copy()
        model(torch.randn(2, 8))
        adapters.copy()
    return model, adapters


def names(adapters, model):
    known = {module: name.rpartition(".")[2] for name, module in model.named_modules()}
    return sorted("".join(known[layer] for layer in siblings.layers) for siblings in adapters._siblings)


def results(model, call, x):
    """Outputs and gradients of x and all adapters."""
    x = x.clone().requires_grad_()
    output = call(x)
    weights = [weight for _, weight in sorted(model.named_parameters()) if weight.requires_grad]
    return output, *torch.autograd.grad(output.sin().sum(), [x, *weights], allow_unused=True, materialize_grads=True)


def pefts_results(model, call, x):
    layers = [module for module in model.modules() if isinstance(module, FusedLinear)]
    for layer in layers:
        layer.__class__ = peft_layer.Linear
    found = results(model, call, x)
    for layer in layers:
        layer.__class__ = FusedLinear
    return found


@pytest.mark.parametrize("used", [(0, 1, 2), (1,), (2, 0)])
@pytest.mark.parametrize("to_input", [True, False])
def test_lora_products_equal_the_formula(used, to_input):
    random = torch.Generator().manual_seed(0)

    def number(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    ranks, outputs, x = (3, 1, 2), (4, 6, 5), number(5, 7).requires_grad_(to_input)
    down = number(sum(ranks), 7).requires_grad_()
    ups = [number(size, rank).requires_grad_() for size, rank in zip(outputs, ranks, strict=True)]
    fixed = [(number(size, 7), number(size) if size > 4 else None) for size in outputs]
    leaves = [x, down, *ups] if to_input else [down, *ups]

    def ours(*_leaves):
        rest = [one for (weight, bias), up in zip(fixed, ups, strict=True) for one in (weight, bias, up)]
        found = LoraProducts.apply(x, down, *rest)
        return tuple(found[at] for at in used)

    def formula():
        parts = zip(fixed, ups, down.split(ranks), strict=True)
        found = [nn.functional.linear(x, weight, bias) + (x @ own.T) @ up.T for (weight, bias), up, own in parts]
        return tuple(found[at] for at in used)

    torch.testing.assert_close(ours(), formula())
    found, expected = (
        torch.autograd.grad(
            sum(one.square().sum() for one in made()), leaves, allow_unused=True, materialize_grads=True
        )
        for made in (ours, formula)
    )
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(ours, leaves)


def test_shared_lora_siblings_are_layers_with_the_same_input():
    model, adapters = build()
    assert names(adapters, model) == ["abc", "d"], "d has the same input size but another input tensor"
    model, adapters = build(target_modules=["b", "c"])
    assert names(adapters, model) == ["bc"]


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma3"])
def test_new_student_has_shared_lora_siblings(make_student, family):
    student, _ = make_student(family=family)
    student.adapters.copy()
    known = Counter(names(student.adapters, student))
    assert known == dict.fromkeys(("q_projk_projv_proj", "gate_projup_proj", "o_proj", "down_proj"), 3)


def test_load_student_finds_siblings(make_student, tmp_path):
    student, contract = make_student()
    with new_folder(tmp_path / "student") as temporary:
        student.save(temporary, contract)
    loaded, _ = load_student(tmp_path / "student")
    assert not loaded.adapters.layers[0]._siblings.copies, "a pass without gradients releases its copies"
    loaded.adapters.copy()
    student.adapters.copy()
    assert names(loaded.adapters, loaded) == names(student.adapters, student)


@pytest.mark.parametrize("order", ["abc", "cab", "ab", "aba"])
@pytest.mark.parametrize("shape", [(5, 8), (1, 5, 8), (2, 3, 8)])
@pytest.mark.parametrize("target_modules", [["a", "b", "c", "d"], ["b", "c"]])
def test_siblings_equal_pefts_layers_in_any_order(order, shape, target_modules):
    model, adapters = build(target_modules=target_modules)
    model.get_base_model().order = order
    x = torch.randn(*shape)
    for call in (model, lambda x: checkpoint(model, x, use_reentrant=False)):
        adapters.copy()
        found = results(model, call, x)
        for ours, own in zip(found, pefts_results(model, call, x), strict=True):
            torch.testing.assert_close(ours, own, atol=1e-5, rtol=1e-5)


def crossed(layers, x, y):
    """Call two layers with x and the third with y, then each with the other tensor."""
    a, b, c = layers
    return torch.cat([a(x), b(y), c(y), b(x), c(x), a(y)], dim=-1)


def changed(layers, x, y):
    """Change a tensor in place between the calls."""
    with torch.no_grad():
        z = x * 1
        first = layers[0](z)
        z += y
        return torch.cat([first, layers[1](z), layers[2](z)], dim=-1)


def equal_but_not_the_same(layers, x, y):
    return torch.cat([layers[0](x), layers[1](x + 0), layers[2](x * 1)], dim=-1) + y.sum()


def twice(layers, x, y):
    """Call one layer without gradients, then its siblings with them."""
    with torch.no_grad():
        layers[0](x)
    return torch.cat([layers[1](x), layers[2](x)], dim=-1) + y.sum()


def partly_off(layers, x, y):
    """Turn off the adapters of one sibling, which then uses peft's forward."""
    layers[1].enable_adapters(False)
    found = torch.cat([layer(x) for layer in layers], dim=-1) + y.sum()
    layers[1].enable_adapters(True)
    return found


@pytest.mark.parametrize("use", [crossed, changed, equal_but_not_the_same, twice, partly_off])
def test_shared_lora_siblings_equal_pefts_layers_for_other_calls(use):
    model, adapters = build()
    layers = [getattr(model.get_base_model(), name) for name in "abc"]
    given = torch.randn(4, 8), torch.randn(4, 8)

    def run():
        x, y = (one.clone().requires_grad_() for one in given)
        output = use(layers, x, y)
        return output, *(torch.autograd.grad(output.sin().sum(), [x, y]) if output.requires_grad else ())

    adapters.copy()
    found = run()
    for layer in layers:
        layer.__class__ = peft_layer.Linear
    for ours, own in zip(found, run(), strict=True):
        torch.testing.assert_close(ours, own, atol=1e-5, rtol=1e-5)


def test_shared_lora_siblings_accept_inference_tensors():
    model, adapters = build()
    x = torch.randn(3, 8)
    adapters.copy()
    expected = model(x)
    with torch.inference_mode():
        torch.testing.assert_close(model(x.clone()), expected)


@pytest.mark.parametrize("drop", ["copy", "release", "another"])
def test_unused_outputs_are_released(drop):
    model, adapters = build()
    block = model.get_base_model()
    adapters.copy()
    x = torch.randn(3, 8)
    block.a(x)
    outputs = block.a._siblings._outputs
    references = [weakref.ref(x), *(weakref.ref(output) for output in outputs.values())]
    assert len(references) == 3
    assert all(one() is not None for one in references)
    del x, outputs
    block.a(torch.randn(3, 8)) if drop == "another" else getattr(adapters, drop)()
    gc.collect()
    assert all(one() is None for one in references)


def test_outputs_are_released_after_the_last_call():
    model, adapters = build()
    adapters.copy()
    x = torch.randn(3, 8)
    with torch.no_grad():
        output = model(x)
    references = [weakref.ref(x), weakref.ref(output)]
    del x, output
    assert all(one() is None for one in references)


def test_shared_lora_copies_are_those_of_the_current_pass():
    model, adapters = build()
    block, x = model.get_base_model(), torch.randn(3, 8)
    adapters.copy()
    block.a(x)
    with torch.no_grad():
        block.b.lora_A["default"].weight.mul_(2)
    adapters.copy()
    found = block.b(x)
    adapters.release()
    torch.testing.assert_close(found, block.b(x), atol=1e-5, rtol=1e-5)
