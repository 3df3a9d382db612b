"""How many bytes training and scoring take, part by part, from a model's configuration: which card does a run need?

Counted for decoders whose layers are attention and a gated MLP (Llama, Qwen, Gemma, Mistral), rows laid end to end without
padding, an attention kernel that keeps no scores, layers that are not compiled, and LoRA without dropout on all linear
modules. What each linear module reads is kept once, however many adapters read it: q, k and v share theirs, as do gate and
up. Other shapes differ: fewer adapters keep less, dropout keeps one more copy of each input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from flipkd.student.language_model import DTYPES, LoraSettings, lora_targets
from flipkd.student.readout import LAYER, find_readout_modules, linear_modules

FLOAT = 4  # bytes of a float32
FOUR_BITS = 4 / 8 + 1 / 64 + FLOAT / (64 * 256)  # code; a one-byte scale per 64 weights; a float32 per 256 scales


@dataclass(frozen=True)
class Memory:
    """Bytes by part."""

    weights: int  # of the base model, embeddings once where they are tied
    adapters: int  # float32
    copies: int  # of the adapters in the dtype of the products
    gradients: int  # of the adapters, float32
    optimizer: int  # two float32 moments of AdamW for each adapter weight
    activations: int  # what the forward pass keeps for the backward pass
    workspace: int  # what one layer needs for a moment

    @property
    def total(self) -> int:
        """All parts; what libraries and the driver take comes on top (0.5 to 1 GB on a GPU)."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """Name -> bytes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The numbers of a model with its adapters on which its memory depends."""

    hidden: int
    inner: int  # width of the MLP
    heads: int
    queries: int  # query heads x width of a head
    keys: int  # key-value heads x width of a head
    layers: int
    linear: int  # weights of the linear modules in the layers: those that 4 bits can hold
    largest: int  # weights of the largest of them
    other: int  # embeddings, norms, biases
    norms: int  # numbers that the norms of all layers read, per token
    adapters: int  # weights of all A and B
    rank: int  # sum of the ranks of all adapters
    places: int  # modules whose A is read

    @property
    def kept(self) -> float:
        """Numbers in the dtype of the products that one layer keeps per token."""
        inputs = 2 * self.hidden + self.queries + self.inner  # of q, k, v; of gate, up; of o; of down
        attention = self.queries + 2 * self.keys  # what is attended with; its result is the input of o
        gate = 3 * self.inner  # gate before and after its activation, and up
        return inputs + attention + gate + self.rank / self.layers  # and A x of each adapter


def shape_of(config: Any, lora: LoraSettings) -> Shape:
    """The shape of a transformers config with adapters; no weights are made. Raises ConfigError for places it does not have."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    keys = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    sizes = {name: model.get_submodule(name).weight for name in linear_modules(model)}
    linear = {name: weight.numel() for name, weight in sizes.items()}
    places = find_readout_modules(model, layers=lora.readout_layers, modules=lora.readout_modules)
    ranks = {name: lora.readout_r if name in places else lora.r for name in lora_targets(model, lora, places)}
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
        norms=_read_by_norms(model, {"q_norm": queries, "k_norm": keys}),
        adapters=sum(rank * sum(sizes[name].shape) for name, rank in ranks.items()),
        rank=sum(ranks.values()),
        places=len(places),
    )


def _read_by_norms(model: Any, of_heads: Mapping[str, int]) -> int:
    """Numbers per token that the norms in the layers read; one of a head has that head's weights only."""
    norms = {
        name: module.weight.numel()
        for name, module in model.named_modules()
        if LAYER.search(name) and type(module).__name__.endswith("Norm")
    }
    return sum(of_heads.get(name.rsplit(".", 1)[-1], count) for name, count in norms.items())


def training_memory(
    shape: Shape,
    *,
    tokens: int,
    dtype: str = "bfloat16",
    load_in_4bit: bool = False,
    activation_checkpointing: bool = False,
) -> Memory:
    """The most that a training step of `tokens` real tokens takes: pairs x their mean length, in separate reading also the texts.

    Only two rows of the LM head are computed, for one position of each pair, and the vectors of a pair are few numbers:
    neither is counted.
    """
    width = DTYPES[dtype].itemsize
    in_float = FLOAT * (shape.norms / shape.layers + shape.heads)  # what norms read; a sum per head of attention
    layer = width * shape.kept + in_float
    last = FLOAT * shape.hidden  # what the norm behind the layers reads
    gradients = width * (3 * shape.inner + 2 * shape.hidden)  # of gate, up and their product; in and out of a layer
    if activation_checkpointing:
        kept = float(width * shape.hidden * (shape.layers + shape.places))  # inputs of layers and of what is read
        moment = gradients + layer  # one layer at a time is computed again
    else:
        kept, moment = shape.layers * layer, float(gradients)
    return Memory(
        weights=_weights(shape, width, load_in_4bit),
        adapters=FLOAT * shape.adapters,
        copies=0 if width == FLOAT else width * shape.adapters,
        gradients=FLOAT * shape.adapters,
        optimizer=2 * FLOAT * shape.adapters,
        activations=round(tokens * (kept + last)),
        workspace=round(tokens * moment) + width * shape.largest * load_in_4bit,  # a module's weights unpacked
    )


def scoring_memory(shape: Shape, *, tokens: int, dtype: str = "bfloat16", load_in_4bit: bool = False) -> Memory:
    """The most that a scoring pass of `tokens` real tokens takes: nothing is kept but the stream from layer to layer."""
    width = DTYPES[dtype].itemsize
    # Embeddings, a layer's input, its stream between attention and MLP, the norm of that, and what the readout caught; then
    # gate, the base's part of up, the adapter's part and their sum.
    passing = width * ((4 + shape.places) * shape.hidden + 4 * shape.inner)
    return Memory(
        weights=_weights(shape, width, load_in_4bit),
        adapters=FLOAT * shape.adapters,
        copies=0 if width == FLOAT else width * shape.adapters,
        gradients=0,
        optimizer=0,
        activations=0,
        workspace=round(tokens * passing) + width * shape.largest * load_in_4bit,
    )


def _weights(shape: Shape, width: int, load_in_4bit: bool) -> int:
    return round(shape.other * width + shape.linear * (FOUR_BITS if load_in_4bit else width))


def largest_batch(
    shape: Shape,
    *,
    budget: float,
    tokens_per_pair: float,
    dtype: str = "bfloat16",
    load_in_4bit: bool = False,
    activation_checkpointing: bool = False,
) -> int:
    """Pairs of a training step that take at most `budget` bytes; 0 when none fits."""

    def total(tokens: int) -> int:
        """Bytes of a step over so many tokens."""
        return training_memory(
            shape,
            tokens=tokens,
            dtype=dtype,
            load_in_4bit=load_in_4bit,
            activation_checkpointing=activation_checkpointing,
        ).total

    many = 1 << 20  # memory is a straight line over tokens; far apart, so that rounding does not show
    fixed = total(0)
    return max(0, int((budget - fixed) * many / (total(many) - fixed) / tokens_per_pair))
