"""Estimate the memory of training in bytes, part by part, from a model's config.

The counts hold for decoders whose layers are attention and a gated MLP (Llama, Qwen, Gemma, Mistral), packed rows without
padding, an attention kernel that stores no scores, layers that are not compiled, and LoRA without dropout on all linear
modules. The input of linear modules is stored once for all modules that share it: q, k and v share one, gate and up share
one. Other settings differ: fewer adapters store less, dropout stores one more copy of each input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from flipkd.config import StudentConfig
from flipkd.student.language_model import DTYPES, lora_targets
from flipkd.student.readout import LAYER, find_readout_modules, linear_modules

FLOAT = 4  # bytes of a float32
FOUR_BITS = 4 / 8 + 1 / 64 + FLOAT / (64 * 256)  # 4 bits; a one-byte scale per 64 weights; a float32 per 256 scales


@dataclass(frozen=True)
class Memory:
    """Bytes by part."""

    weights: int  # of the base model; tied embeddings count once
    adapters: int  # float32
    copies: int  # of the adapters in the base model's dtype
    gradients: int  # of the adapters, float32
    optimizer: int  # two float32 moments of AdamW for each adapter weight
    activations: int  # stored by the forward pass for the backward pass
    workspace: int  # temporary tensors of one layer

    @property
    def total(self) -> int:
        """Sum of all parts; libraries and the driver need 0.5 to 1 GB more on a GPU."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """Name -> bytes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a model with adapters that determine its memory."""

    hidden: int
    inner: int  # width of the MLP
    heads: int
    queries: int  # query heads x width of a head
    keys: int  # key-value heads x width of a head
    layers: int
    linear: int  # weights of the linear modules in the layers: those that can be quantized
    largest: int  # weights of the largest of them
    other: int  # embeddings, norms, biases
    embeddings: int  # weights of the input embeddings
    head: int  # weights of the LM head; 0 where it is tied to the embeddings
    norms: int  # input values of the norms of all layers, per token
    adapters: int  # weights of all A and B
    rank: int  # sum of the ranks of all adapters
    readout_modules: int  # number of readout modules

    @property
    def stored_per_layer(self) -> float:
        """Values in the base model's dtype that one layer stores per token."""
        inputs = 2 * self.hidden + self.queries + self.inner  # of q, k, v; of gate, up; of o; of down
        attention = self.queries + 2 * self.keys  # q, k, v; the output of attention is the input of o
        gate = 3 * self.inner  # gate before and after its activation, and up
        return inputs + attention + gate + self.rank / self.layers  # and A x of each adapter


def shape_of(config: Any, lora: StudentConfig) -> Shape:
    """Return the shape of a transformers config with the adapters that `lora` sets, without allocating weights.

    Raises ConfigError for layers or modules that the model does not have.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    keys = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    sizes = {name: model.get_submodule(name).weight for name in linear_modules(model)}
    linear = {name: weight.numel() for name, weight in sizes.items()}
    module_names = find_readout_modules(model, layers=lora.readout_layers, modules=lora.readout_modules)
    ranks = {
        name: lora.readout_r if name in module_names else lora.lora_r
        for name in lora_targets(model, lora, module_names)
    }
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    queries, keys = text.num_attention_heads * width, keys * width
    return Shape(
        hidden=text.hidden_size,
        inner=text.intermediate_size,
        heads=text.num_attention_heads,
        queries=queries,
        keys=keys,
        layers=text.num_hidden_layers,
        linear=sum(linear.values()),
        largest=max(linear.values()),
        other=sum(parameter.numel() for parameter in model.parameters()) - sum(linear.values()),
        embeddings=embeddings.numel(),
        head=0 if head is embeddings else head.numel(),
        norms=_norm_inputs(model, {"q_norm": queries, "k_norm": keys}),
        adapters=sum(rank * sum(sizes[name].shape) for name, rank in ranks.items()),
        rank=sum(ranks.values()),
        readout_modules=len(module_names),
    )


def _norm_inputs(model: Any, head_norms: Mapping[str, int]) -> int:
    """Count the input values of the norms in the layers per token; a norm of heads has the weights of one head only."""
    norms = {
        name: module.weight.numel()
        for name, module in model.named_modules()
        if LAYER.search(name) and type(module).__name__.endswith("Norm")
    }
    return sum(head_norms.get(name.rsplit(".", 1)[-1], count) for name, count in norms.items())


def training_memory(
    shape: Shape,
    *,
    tokens: int,
    dtype: str = "bfloat16",
    load_in_4bit: bool = False,
    activation_checkpointing: bool = False,
    shards: int = 1,
) -> Memory:
    """Estimate the peak memory of a training step over `tokens` real tokens: pairs x mean length (separate reading: plus texts).

    The logits (two rows of the LM head, one position per pair) and the embeddings are small and are not counted. `shards`:
    processes that FSDP divides the base among; the memory is then that of one of them, and `tokens` are its own.
    """
    width = DTYPES[dtype].itemsize
    in_float = FLOAT * (shape.norms / shape.layers + shape.heads)  # inputs of norms; one sum per attention head
    layer = width * shape.stored_per_layer + in_float
    last = FLOAT * shape.hidden  # input of the final norm
    gradients = width * (3 * shape.inner + 2 * shape.hidden)  # of gate, up and their product; in and out of a layer
    if activation_checkpointing:
        # Inputs of layers and of the readout.
        stored = float(width * shape.hidden * (shape.layers + shape.readout_modules))
        temporary = gradients + layer  # one layer at a time is recomputed
    else:
        stored, temporary = shape.layers * layer, float(gradients)
    weights, gathered = round(shape.other * width + shape.linear * (FOUR_BITS if load_in_4bit else width)), 0.0
    if shards > 1:  # the LM head is freed; the layer that runs, the next one and what is being received are complete
        weights = round((weights - width * shape.head) / shards)
        gathered = width * max(3 * shape.linear / shape.layers, 2 * shape.embeddings)
    return Memory(
        weights=weights,
        adapters=FLOAT * shape.adapters,
        copies=0 if width == FLOAT else width * shape.adapters,
        gradients=FLOAT * shape.adapters,
        optimizer=2 * FLOAT * shape.adapters,
        activations=round(tokens * (stored + last)),
        # In 4 bits also one module's weights, dequantized.
        workspace=round(tokens * temporary + gathered) + width * shape.largest * load_in_4bit,
    )


def largest_batch(
    shape: Shape,
    *,
    budget: float,
    tokens_per_pair: float,
    dtype: str = "bfloat16",
    load_in_4bit: bool = False,
    activation_checkpointing: bool = False,
    shards: int = 1,
) -> int:
    """Return the most pairs of a training step that fit into `budget` bytes; 0 when none fits.

    With `shards` these are the bytes and the pairs of each process.
    """

    def total(tokens: int) -> int:
        """Return the bytes of a step over `tokens` tokens."""
        return training_memory(
            shape,
            tokens=tokens,
            dtype=dtype,
            load_in_4bit=load_in_4bit,
            activation_checkpointing=activation_checkpointing,
            shards=shards,
        ).total

    sample = 1 << 20  # memory is linear in tokens; a large sample makes rounding negligible
    fixed = total(0)
    return max(0, int((budget - fixed) * sample / (total(sample) - fixed) / tokens_per_pair))
