"""Fused RMS norms and LoRA layers against the modules that they replace, in float32 and bfloat16."""

from __future__ import annotations

import pytest
import torch
from devices import apart, each_device
from peft.tuners.lora import layer as peft_layer
from tiny import FAMILIES, build_model

from flipkd.student.lora import FusedLinear
from flipkd.student.norms import FusedNorm, fuse_norms
from flipkd.student.rows import to_device

LEFT, RIGHT = ["my card was stolen", "pin", "fee"], ["where is my transfer", "fee", "pin"]


def with_gradient(norm, x, direction):
    x = x.clone().requires_grad_()
    value = norm(x)
    return value.detach(), torch.autograd.grad((value * direction).sum(), x)[0]


@each_device
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
def test_fused_norms_equal_the_models_norms(device, family, dtype, tolerance):
    model = build_model(family, vocabulary=50)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn(parameter.shape, generator=random) * 0.2)
    model = model.to(device, dtype).requires_grad_(False)
    norm = model.model.norm
    x, direction = (torch.randn(3, 7, 32, generator=random).to(device, dtype) for _ in range(2))
    expected = with_gradient(norm, x, direction)
    assert fuse_norms(model) > 0
    assert isinstance(norm, FusedNorm)
    found = with_gradient(norm, x, direction)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        assert apart(ours, theirs) < tolerance


def answers_embeddings_gradients(student, device):
    """(answers, left embeddings, gradients of all adapters) of a batch."""
    student.train().zero_grad()
    output = student(to_device(student.collate(LEFT, RIGHT, return_embeddings=True), torch.device(device)))
    (output.answers.sum() + output.left[:, 0].sum() + (output.left * output.right).sum()).backward()
    gradients = torch.cat([p.grad.flatten() for _, p in sorted(student.named_parameters()) if p.grad is not None])
    return output.answers, output.left, gradients


@each_device
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-4), ("bfloat16", 0.04)])
def test_fused_linear_equals_pefts_layers(student_on, device, family, dtype, tolerance):
    student = student_on(device, family, dtype=dtype)
    layers = student.adapters.layers
    assert all(isinstance(layer, FusedLinear) for layer in layers)
    found = answers_embeddings_gradients(student, device)
    assert layers
    for layer in layers:
        layer.__class__ = peft_layer.Linear
    student.adapters.layers = []
    for ours, theirs in zip(found, answers_embeddings_gradients(student, device), strict=True):
        assert ours.shape == theirs.shape
        assert apart(ours, theirs) < tolerance
