"""The estimated memory of a shape against the measured allocations of tiny models."""

from __future__ import annotations

import pytest
import torch
from allocations import Allocations
from tiny import student_config
from transformers import AutoConfig

from flipkd.errors import ConfigError
from flipkd.student.memory import Memory, largest_batch, shape_of, training_memory

FAMILIES = ("qwen2", "llama", "gemma3")
TOLERANCE = 0.25  # measured: at most 17 %
BATCHES = [
    ("qwen2", "bfloat16", 8, 40),
    ("llama", "bfloat16", 64, 40),
    ("llama", "float32", 32, 8),
    ("gemma3", "bfloat16", 64, 40),
    ("gemma3", "float32", 32, 8),
]


def student_and_batch(make_student, family, *, dtype, rows, words):
    """A student with torch's kernel, a batch of `rows` equal pairs (so no padding, as in packed rows), and its tokens."""
    student, _ = make_student(family, dtype=dtype, attn_implementation="sdpa", max_text_length=128)
    text = " ".join(["card"] * words)
    batch = student.collate([text] * rows, [text] * rows, return_embeddings=True)
    assert (batch["segment"] > 0).all()
    return student, batch, batch["segment"].numel()


def allocations_of(student, batch):
    return Allocations([*student.parameters(), *student.buffers(), *batch.values()])


@pytest.fixture
def shape(base_models):
    return lambda family, **lora: shape_of(
        AutoConfig.from_pretrained(base_models[family]), student_config(base_models[family], **lora)
    )


@pytest.mark.slow
@pytest.mark.parametrize("family, dtype, rows, words", BATCHES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_memory_equals_measured_allocations(make_student, shape, family, dtype, rows, words, checkpointing):
    student, batch, tokens = student_and_batch(make_student, family, dtype=dtype, rows=rows, words=words)
    if checkpointing:
        student.language_model.activation_checkpointing_enable()
    student.train()
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad])
    with allocations_of(student, batch) as allocations:
        output = student(batch)
        loss = output.answers.sum() + (output.left * output.right).sum()
        stored = allocations.now
        loss.backward()
        optimizer.step()
    expected = training_memory(shape(family), tokens=tokens, dtype=dtype, activation_checkpointing=checkpointing)
    assert stored == pytest.approx(expected.activations + expected.copies, rel=TOLERANCE)
    assert allocations.peak == pytest.approx(expected.total - expected.weights - expected.adapters, rel=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_training_memory_of_weights_and_adapters_is_exact(make_student, shape, family, dtype):
    student, _ = make_student(family, dtype=dtype)
    sizes = {True: 0, False: 0}
    for parameter in student.parameters():  # tied embeddings and LM head count once, as in gemma3
        sizes[parameter.requires_grad] += parameter.numel() * parameter.element_size()
    expected = training_memory(shape(family), tokens=10, dtype=dtype)
    assert (expected.weights, expected.adapters) == (sizes[False], sizes[True])
    assert expected.gradients == sizes[True]
    assert expected.optimizer == 2 * sizes[True]
    assert expected.copies == (sizes[True] // 2 if dtype == "bfloat16" else 0)
    assert expected.total == sum(expected.parts.values())


def test_shape_of_counts_ranks_and_readout_modules(shape):
    small, wide, everywhere = (
        shape("llama", readout_modules=("q_proj",), **more)
        for more in ({}, {"readout_r": 20}, {"readout_layers": (0, 1, 2)})
    )
    assert wide.adapters - small.adapters == 8 * (32 + 32)
    assert everywhere.adapters - small.adapters == 2 * 8 * (32 + 32)
    assert (small.readout_modules, everywhere.readout_modules) == (1, 3)
    with pytest.raises(ConfigError, match="readout_layers has layer 7"):
        shape("llama", readout_layers=(7,))


def test_training_memory_in_4_bits_changes_only_linear_modules(shape):
    llama = shape("llama")
    original, four = (training_memory(llama, tokens=0, load_in_4bit=on) for on in (False, True))
    assert original.weights - four.weights == pytest.approx(llama.linear * (2 - 4.127 / 8), abs=0.001 * llama.linear)
    assert four.workspace == 2 * llama.largest
    same = [name for name in original.parts if original.parts[name] == four.parts[name]]
    assert set(original.parts) - set(same) == {"weights", "workspace"}


@pytest.mark.parametrize("load_in_4bit", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_largest_batch_is_the_last_that_fits(shape, load_in_4bit, checkpointing):
    switches = {"load_in_4bit": load_in_4bit, "activation_checkpointing": checkpointing}
    budget = 5_000_000
    pairs = largest_batch(shape("qwen2"), budget=budget, tokens_per_pair=45, **switches)
    fits = [training_memory(shape("qwen2"), tokens=45 * n, **switches).total <= budget for n in (pairs, pairs + 1)]
    assert fits == [True, False]
    assert largest_batch(shape("qwen2"), budget=1000, tokens_per_pair=45, **switches) == 0


def test_memory_parts_are_in_order():
    assert list(Memory(1, 2, 3, 4, 5, 6, 7).parts.values()) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("family", FAMILIES)
def test_training_memory_of_shards_divides_the_weights_alone(shape, family):
    found = shape(family)
    complete, part = (training_memory(found, tokens=100, shards=shards) for shards in (1, 4))
    assert (found.head == 0) == (family == "gemma3")
    assert part.weights == pytest.approx((complete.weights - 2 * found.head) / 4, abs=1)
    assert part.workspace - complete.workspace >= 3 * 2 * found.linear / found.layers
    same = [name for name in complete.parts if name not in ("weights", "workspace")]
    assert [part.parts[name] for name in same] == [complete.parts[name] for name in same]
    fits = largest_batch(found, budget=2 * part.total, tokens_per_pair=10, shards=4)
    assert training_memory(found, tokens=10 * fits, shards=4).total <= 2 * part.total
