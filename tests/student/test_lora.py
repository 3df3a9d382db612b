"""The fused LoRA layer against peft's own: outputs, gradients, and the cases that use peft's forward."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.lora import layer as peft_layer
from tiny import randomise

from flipkd.student.lora import CopyAdapters, FusedLinear

LEFT, RIGHT = ["my card was stolen", "pin"], ["where is my transfer", "fee"]


def test_copy_adapters_returns_gradients_in_the_adapters_dtype():
    tensors = [
        torch.randn(2, 3, requires_grad=True),
        torch.randn(4, requires_grad=True),
        torch.ones(1).requires_grad_(),
    ]
    first, second, _unused = CopyAdapters.apply(torch.bfloat16, [1.0, 2.0, 1.0], [1, 1, 1], *tensors)
    assert first.dtype == torch.bfloat16
    assert torch.equal(first, tensors[0].bfloat16())
    ((first * 2).sum() + second.square().sum()).backward()
    assert tensors[0].grad.dtype == torch.float32
    assert torch.equal(tensors[0].grad, torch.full((2, 3), 2.0))
    torch.testing.assert_close(tensors[1].grad, 2 * (2 * second.detach()).float())
    assert not tensors[2].grad.any()


def test_copy_adapters_splits_the_gradients_of_joined_copies():
    tensors = [torch.randn(rows, 3, requires_grad=True) for rows in (2, 1, 4)]
    joined, single = CopyAdapters.apply(torch.float32, [1.0, 2.0, 3.0], [2, 1], *tensors)
    expected = torch.cat([tensors[0], 2 * tensors[1]]), 3 * tensors[2]
    assert torch.equal(joined, expected[0])
    assert torch.equal(single, expected[1])
    torch.testing.assert_close(
        torch.autograd.grad(joined.square().sum() + single.square().sum(), tensors),
        torch.autograd.grad(sum(copy.square().sum() for copy in expected), tensors),
    )


def unfused(student):
    for layer in student.adapters.layers:
        layer.__class__ = peft_layer.Linear
    student.adapters.layers = []
    return student


@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-5), ("bfloat16", 0.03)])
def test_fused_linear_equals_pefts_layers(make_student, base_model, dtype, tolerance):
    found = []
    for change in (lambda s: s, unfused):
        student = change(randomise(make_student(base_model.name, dtype=dtype)[0]))
        output = student(student.collate(LEFT, RIGHT, return_embeddings=True))
        (output.answers.sum() + output.left[:, 0].sum()).backward()
        gradients = torch.cat([p.grad.flatten() for _, p in sorted(student.named_parameters()) if p.grad is not None])
        found.append((output, gradients))
    (fused, ours), (own, expected) = found
    torch.testing.assert_close(fused.answers, own.answers, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(fused.left, own.left, atol=tolerance, rtol=tolerance)
    assert ours.shape == expected.shape
    assert float((ours - expected).norm() / expected.norm()) < tolerance


def test_fuse_covers_every_lora_layer(make_student):
    student, _ = make_student()
    lora = [module for module in student.modules() if isinstance(module, peft_layer.LoraLayer)]
    assert lora
    assert all(isinstance(module, FusedLinear) for module in lora)
    assert len(student.adapters.layers) == len(lora)


def test_fused_linear_uses_peft_for_dropout_and_merged_weights(make_student):
    student, _ = make_student(readout_r=4, lora_dropout=0.5)
    randomise(student).train()
    layer, x = student.adapters.layers[0], torch.randn(50, 32)
    student.adapters.copy()
    torch.manual_seed(0)
    first = layer(x)
    assert not torch.equal(layer(x), first), "dropout differs between calls"
    student.eval()
    student.adapters.copy()
    expected = layer(x)
    layer.merge()
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def test_adapters_copy_follows_changed_weights(make_student):
    student, _ = make_student(dtype="bfloat16")
    student.train()
    batch = student.collate(LEFT, RIGHT, return_embeddings=False)
    student(batch, return_embeddings=False)
    randomise(student)
    student.eval()
    fresh = student(batch, return_embeddings=False).answers
    with torch.no_grad():
        direct = student.language_model(input_ids=batch["input_ids"][:1], use_cache=False).logits[
            0, len(student.prompt.pair_rows(LEFT, RIGHT)[0].ids) - 1
        ]
    torch.testing.assert_close(fresh[0], direct.float()[list(student.prompt.label_ids)], atol=0.05, rtol=0.05)
