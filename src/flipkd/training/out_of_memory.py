"""What a run is told when a GPU's memory runs out: which part is the largest, and how many pairs a step would fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from flipkd.config import TrainConfig
from flipkd.data.pair_table import PairTable
from flipkd.errors import ResourceError
from flipkd.student.language_model import LoraSettings
from flipkd.student.memory import largest_batch, shape_of, training_memory
from flipkd.student.model import Student

USABLE = 0.9  # of a card; the rest is for the driver, torch's libraries and gaps between tensors
SAMPLE = 256  # pairs whose mean length stands for all


@contextlib.contextmanager
def explain_out_of_memory(
    student: Student, config: TrainConfig, lora: LoraSettings, table: PairTable
) -> Iterator[None]:
    """A block whose ResourceError says what would fit, where memory ran out and the device's is known."""
    try:
        yield
    except ResourceError as error:
        budget = usable_memory(student.device)
        if budget is None or not isinstance(error.__cause__, MemoryError | torch.OutOfMemoryError):
            raise
        raise ResourceError(f"{error}; {memory_advice(student, config, lora, table, budget=budget)}") from error


def usable_memory(device: torch.device) -> float | None:
    """Bytes of a GPU that a run may count on; None for a CPU, whose memory others share."""
    return USABLE * torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None


def memory_advice(
    student: Student, config: TrainConfig, lora: LoraSettings, table: PairTable, *, budget: float
) -> str:
    """The expected bytes of a step, the largest part of them, and the batch that takes at most `budget` bytes."""
    shape = shape_of(student.language_model.config, lora)
    tokens = tokens_per_pair(student, table)
    batch, again = config.per_device_train_batch_size, config.activation_checkpointing
    parts = training_memory(
        shape,
        tokens=round(batch * tokens),
        dtype=config.dtype,
        load_in_4bit=config.load_in_4bit,
        activation_checkpointing=again,
    ).parts
    largest = max(parts, key=lambda name: parts[name])
    found = [
        largest_batch(
            shape,
            budget=budget,
            tokens_per_pair=tokens,
            dtype=config.dtype,
            load_in_4bit=config.load_in_4bit,
            activation_checkpointing=again or more,
        )
        for more in (False, True)
    ]
    said = f"{found[0]} pairs a step would fit" if found[0] else "not one pair would fit"
    if not again:
        said += f", with activation_checkpointing {found[1]}"
    if not config.load_in_4bit and (largest == "weights" or not found[1]):
        said += "; load_in_4bit makes the weights a quarter"
    return (
        f"a step of {batch} pairs of {tokens:.0f} tokens is expected to take {sum(parts.values()) / 1e9:.1f} GB, most of it "
        f"{largest} ({parts[largest] / 1e9:.1f} GB); into {budget / 1e9:.1f} GB {said}"
    )


def tokens_per_pair(student: Student, table: PairTable) -> float:
    """Mean number of tokens that are read for a pair, in separate reading with those of its texts alone."""
    step = -(-len(table) // SAMPLE)
    left, right = table.left[::step], table.right[::step]
    batch = student.collate(left, right, return_embeddings=True)
    return sum(int((batch[name] > 0).sum()) for name in batch if name.endswith("segment")) / len(left)
