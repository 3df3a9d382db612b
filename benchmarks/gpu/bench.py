"""What all measurements of one process share: pairs, models, sizes, what was found so far, and batches that fit."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from growth import save_random_model
from measurements import Size
from ours import settings
from pairs import pairs_for
from workload import MissingError, Task, load_prompt, real_tokens

Found = TypeVar("Found")
HALVINGS = 4
SAMPLE = 512  # pairs whose tokens are counted to turn tokens per step into pairs per step


@dataclass
class Bench:
    """One process's surroundings. `scratch` outlives it: the models made there are found by the next process."""

    student: str
    pairs_file: str | None
    size: Size
    scratch: Path
    device: str
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    tiny: bool = False
    _pairs: Task | None = None
    _tokens_per_pair: float = 0.0

    def task(self, model: str) -> Task:
        """The pairs, for the student or the 7B-shaped layers."""
        if self._pairs is None:
            self._pairs = pairs_for(self.pairs_file, count=self.size.pairs, words=self.size.words)
        return replace(self._pairs, model=self.folder(model))

    def folder(self, model: str) -> str:
        """Name or folder of the student or of the random layers, made when it is not there yet."""
        if model == "student" and not self.tiny:
            return self.student
        folder = self.scratch / model
        if not (folder / "tokenizer.json").exists():  # written last
            dtype = "float32" if self.tiny else "bfloat16"
            save_random_model(
                self.student, str(folder), kind="llama", dtype=dtype, device=self.device, **self.size.shape
            )
        return str(folder)

    def batch(self, task: Task, *, batch: int | None, tokens: int | None) -> int | None:
        """Pairs per step: as given, or as many as have about `tokens` tokens; None for the default."""
        if tokens is None:
            return batch
        if not self._tokens_per_pair:  # the same for both models, which have one tokenizer
            self._tokens_per_pair = real_tokens(load_prompt(task.model), task.first(SAMPLE)) / SAMPLE
        return max(2, round(tokens / self._tokens_per_pair))

    def default_batch(self) -> int:
        """What our training took by default, for the peers to take as well. Raises MissingError when it is not known."""
        from flipkd.training.run import trainer_arguments

        measured = self.found.get("student_train_flipped", {}).get("settings", {}).get("batch")
        config = settings(Task(self.student, [], [], []), per_device_train_batch_size=None)
        batch = measured or trainer_arguments(config).get("per_device_train_batch_size")
        if batch is None:
            raise MissingError("the default batch is known only once student_train_flipped was measured")
        return int(batch)

    def rate(self, flops_per_second: float) -> dict[str, Any]:
        """FLOPs a second, and their share of the card's own where that was measured."""
        product = self.found.get("product", {}).get("value")
        share = flops_per_second / product if product else None
        return {"flops_per_second": flops_per_second, "share_of_product": share}


def fitting(batch: int | None, work: Callable[[int | None], Found]) -> Found:
    """`work(batch)`, with half the batch again and again where memory runs out."""
    for _ in range(HALVINGS):
        try:
            return work(batch)
        except Exception as error:
            if batch is None or batch < 4 or not of_memory(error):
                raise
            print(f"memory ran out with {batch} pairs", file=sys.stderr, flush=True)
        batch //= 2
        clean()
    return work(batch)


def of_memory(error: BaseException) -> bool:
    """Whether the device's memory ran out, whoever says so."""
    cause = error.__cause__
    return isinstance(error, torch.OutOfMemoryError) or isinstance(cause, torch.OutOfMemoryError)


def clean() -> None:
    """Begin as a fresh process would: nothing compiled, memory given back, the peak forgotten."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()  # compiled code counts against a limit beyond which nothing more is compiled
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> int | None:
    """Most bytes of the GPU that were allocated since `clean`; None on a CPU."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
