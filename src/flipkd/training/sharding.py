"""Rows of each rank in a step, and a seed that is equal on all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from torch.utils.data import BatchSampler, Sampler
from transformers import TrainerCallback

from flipkd.errors import ConfigError
from flipkd.training.batches import LengthGroupedRows
from flipkd.training.module import DistillationModule


class RankBatches(Sampler[list[int]]):
    """Yield this rank's part of the batch of every step; all parts together are the batch of a run with one process.

    `rows.batch_size` is that of all W ranks together. A rank takes every W-th row, so that all have the same number of
    rows, of similar length. If the last batch of an epoch is not divisible by W, up to W - 1 rows of the first batch are
    used twice; no row is left out. Raises ConfigError when `drop_last` leaves no batch.
    """

    def __init__(self, rows: LengthGroupedRows, *, processes: int, process: int, drop_last: bool = False) -> None:
        self.rows, self.processes, self.process = rows, processes, process
        self.batches = BatchSampler(rows, rows.batch_size, drop_last)
        if not len(self.batches):
            raise ConfigError(
                f"dataloader_drop_last drops the only batch: the {len(rows)} training pairs are fewer than the {rows.batch_size} "
                "of a step; leave it out, or lower per_device_train_batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls it, also when it resumes within an epoch."""
        self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        first: list[int] = []
        for batch in self.batches:
            first = first or batch
            missing = -len(batch) % self.processes
            yield [*batch, *islice(cycle(first), missing)][self.process :: self.processes]


class StepSeed(TrainerCallback):  # type: ignore[misc]
    """Set a seed for objectives that draw, a function of seed and step alone, so that all ranks draw the same numbers."""

    def __init__(self, module: DistillationModule) -> None:
        self.module = module

    def on_step_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Set the seed of this step."""
        self.module.shared_seed = (args.seed << 31) + state.global_step
