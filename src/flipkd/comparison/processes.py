"""Independent tasks in several processes on one machine, with one GPU each if there are GPUs, and folders that they share."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from flipkd import ranks
from flipkd.errors import ConfigError, ResourceError

Made = TypeVar("Made")


def run_in_processes(
    work: Callable[[int], Made], numbers: Sequence[int], *, processes: int
) -> Iterator[tuple[int, Made | Exception]]:
    """Yield (number, result or exception of `work(number)`) as tasks end; a failed task does not stop the others.

    Each task runs in a new process, so `work` and its result must be picklable. Raises ConfigError for more processes than
    GPUs.
    """
    cards = _visible_gpus(processes)
    ranks.share_cores(processes)
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool,
    ):
        free = manager.Queue()
        for card in cards:
            free.put(card)
        futures: dict[Future[Made], int] = {pool.submit(_run_on_gpu, free, work, number): number for number in numbers}
        for future in as_completed(futures):
            yield futures[future], _outcome(future)


@contextmanager
def shared_folder(folder: str | Path) -> Iterator[None]:
    """Context manager that one process at a time enters: the first makes the folder, the others find it finished."""
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def _visible_gpus(processes: int) -> list[str]:
    """Return the value of CUDA_VISIBLE_DEVICES for each process; empty strings without GPUs."""
    import torch

    if not torch.cuda.is_available():
        return [""] * processes
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    cards = visible.split(",")
    if processes > len(cards):
        raise ConfigError(
            f"--num_processes is {processes}, but this machine has {len(cards)} GPUs; use at most one process per GPU"
        )
    return cards[:processes]


def _run_on_gpu(free: Any, work: Callable[[int], Made], number: int) -> Made:
    card = free.get()
    try:
        if card:
            os.environ["CUDA_VISIBLE_DEVICES"] = card  # read when CUDA is first used, which is in `work`
        return work(number)
    finally:
        free.put(card)


def _outcome(future: Future[Any]) -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if type(error).__name__ == "BrokenProcessPool":
        return ResourceError("a process was killed (the system does this when memory runs out); use fewer processes")
    if not isinstance(error, Exception):
        raise error
    return error
