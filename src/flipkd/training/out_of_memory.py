"""Advice for a GPU that is out of memory: the largest part of the memory, and the batch size that would fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from flipkd import ranks
from flipkd.config import TrainConfig
from flipkd.data.pair_table import PairTable
from flipkd.errors import ResourceError
from flipkd.student.memory import largest_batch, shape_of, training_memory
from flipkd.student.model import Student

USABLE = 0.9  # of the GPU's memory; the rest is for the driver, torch's libraries and fragmentation
SAMPLE = 256  # pairs, whose mean length is the estimate


@contextlib.contextmanager
def explain_out_of_memory(student: Student, config: TrainConfig, table: PairTable) -> Iterator[None]:
    """Context manager that adds `memory_advice` to a ResourceError of a GPU that is out of memory."""
    try:
        yield
    except ResourceError as error:
        budget = usable_memory(student.device)
        if budget is None or not isinstance(error.__cause__, MemoryError | torch.OutOfMemoryError):
            raise
        raise ResourceError(f"{error}; {memory_advice(student, config, table, budget=budget)}") from error


def usable_memory(device: torch.device) -> float | None:
    """Return the bytes of a GPU that a run can use; None for a CPU, whose memory is shared."""
    return USABLE * torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None


def memory_advice(student: Student, config: TrainConfig, table: PairTable, *, budget: float) -> str:
    """Return a sentence with the expected bytes of a step, their largest part, and the batch that fits into `budget` bytes."""
    shape = shape_of(student.language_model.config, config)
    tokens = tokens_per_pair(student, table)
    batch, checkpointing = config.per_device_train_batch_size, config.activation_checkpointing
    settings: dict[str, Any] = {"dtype": config.dtype, "load_in_4bit": config.load_in_4bit}
    settings["shards"] = ranks.world_size() if student.sharded else 1
    step = settings | {"activation_checkpointing": checkpointing}
    parts = training_memory(shape, tokens=round(batch * tokens), **step).parts
    largest = max(parts, key=lambda name: parts[name])
    switched = [settings | {"activation_checkpointing": checkpointing or enabled} for enabled in (False, True)]
    batches = [largest_batch(shape, budget=budget, tokens_per_pair=tokens, **switches) for switches in switched]
    advice = f"{batches[0]} pairs a step would fit" if batches[0] else "not even one pair would fit"
    if not checkpointing:
        advice += f", with activation_checkpointing {batches[1]}"
    if not (config.load_in_4bit or student.sharded) and (largest == "weights" or not batches[1]):
        advice += "; load_in_4bit needs a quarter of the memory for the weights, and FSDP divides them among GPUs (docs/gpu.md)"
    return (
        f"a step of {batch} pairs of {tokens:.0f} tokens is expected to need {sum(parts.values()) / 1e9:.1f} GB, most of it "
        f"{largest} ({parts[largest] / 1e9:.1f} GB); into {budget / 1e9:.1f} GB {advice}"
    )


def tokens_per_pair(student: Student, table: PairTable) -> float:
    """Return the mean number of tokens of a pair, including those of the single texts with `reading=separate`."""
    step = -(-len(table) // SAMPLE)
    left, right = table.left[::step], table.right[::step]
    batch = student.collate(left, right, return_embeddings=True)
    return sum(int((batch[name] > 0).sum()) for name in batch if name.endswith("segment")) / len(left)
