"""Fused RMS norms: equal outputs and gradients in every family; other norms stay unchanged."""

from __future__ import annotations

import pytest
import torch
from tiny import build_model

from flipkd.student.norms import FusedNorm, fuse_norms


def perturbed(family):
    model = build_model(family, vocabulary=50)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn(parameter.shape) * 0.2)
    return model


@pytest.mark.parametrize("family,count", [("qwen2", 7), ("llama", 7), ("gemma3", 19)])
def test_fuse_norms_keeps_the_outputs(family, count):
    model = perturbed(family)
    ids = torch.arange(12)[None]
    before = model(ids).logits
    names = [name for name, _ in model.named_parameters()]
    state = list(model.state_dict())
    assert fuse_norms(model) == count
    torch.testing.assert_close(model(ids).logits, before, atol=1e-5, rtol=1e-5)
    assert [name for name, _ in model.named_parameters()] == names
    assert list(model.state_dict()) == state
    assert fuse_norms(model) == 0, "a second call finds nothing to replace"


@pytest.mark.parametrize("family", ["qwen2", "gemma3"])
def test_fused_norm_rounds_bfloat16_once(family):
    model = perturbed(family).bfloat16()
    norm = model.model.norm
    x = torch.randn(5, 32).bfloat16().requires_grad_()
    expected = norm(x)
    direction = torch.randn(5, 32).bfloat16()
    own = torch.autograd.grad((expected * direction).sum(), x)[0]
    fuse_norms(model)
    assert isinstance(norm, FusedNorm)
    found = norm(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=0, rtol=2**-7)
    torch.testing.assert_close(torch.autograd.grad((found * direction).sum(), x)[0], own, atol=0.02, rtol=0.05)


def test_fuse_norms_skips_other_norms():
    class OddRMSNorm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.eps = torch.nn.Parameter(torch.ones(4)), 1e-6

        def forward(self, x):
            return x * self.weight.abs().sum()

    class NamelessRMSNorm(OddRMSNorm):
        def __init__(self):
            super().__init__()
            del self.eps

    for module in (OddRMSNorm(), NamelessRMSNorm()):
        assert fuse_norms(torch.nn.Sequential(module)) == 0
        assert not isinstance(module, FusedNorm)
