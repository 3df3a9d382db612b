"""Which rows of a step each rank reads, and what all of them draw alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from torch.utils.data import BatchSampler, Sampler
from transformers import TrainerCallback

from flipkd.training.batches import LengthGroupedRows
from flipkd.training.module import DistillationModule


class RankBatches(Sampler[list[int]]):
    """This rank's part of every step's batch; what all ranks read in a step is what one process with the whole batch reads.

    `rows.batch_size` is that of all ranks together. A rank takes every W-th row, so that all have rows of like length and
    as many of them. Where the last rows of an epoch cannot be shared evenly, up to W - 1 rows of its beginning are read a
    second time there; none is left out.
    """

    def __init__(self, rows: LengthGroupedRows, *, processes: int, process: int, drop_last: bool = False) -> None:
        self.rows, self.processes, self.process = rows, processes, process
        self.whole = BatchSampler(rows, rows.batch_size, drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; the Trainer calls it, also when it resumes inside of one."""
        self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[list[int]]:
        beginning: list[int] = []
        for batch in self.whole:
            beginning = beginning or batch
            missing = -len(batch) % self.processes
            yield [*batch, *islice(cycle(beginning), missing)][self.process :: self.processes]


class StepSeed(TrainerCallback):  # type: ignore[misc]
    """What objectives draw is a function of seed and step alone, where several ranks must draw alike."""

    def __init__(self, module: DistillationModule) -> None:
        self.module = module

    def on_step_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Before the batches of a step."""
        self.module.draw = (args.seed << 31) + state.global_step
