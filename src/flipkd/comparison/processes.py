"""Independent tasks in several processes of this machine, each with a GPU of its own where there are any."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from flipkd import ranks
from flipkd.errors import ConfigError, ResourceError

Made = TypeVar("Made")


def in_processes(
    work: Callable[[int], Made], numbers: Sequence[int], *, processes: int
) -> Iterator[tuple[int, Made | Exception]]:
    """(number, what `work(number)` gave or raised) of each task, as they end; one that fails does not stop the others.

    Each task has a fresh process, so that `work` and what it gives must be picklable. Raises ConfigError for more processes
    than GPUs.
    """
    cards = _cards(processes)
    ranks.share_cores(processes)
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool,
    ):
        free = manager.Queue()
        for card in cards:
            free.put(card)
        futures: dict[Future[Made], int] = {pool.submit(_on_card, free, work, number): number for number in numbers}
        for future in as_completed(futures):
            yield futures[future], _outcome(future)


def _cards(processes: int) -> list[str]:
    """What CUDA_VISIBLE_DEVICES is for each process; empty without GPUs."""
    import torch

    if not torch.cuda.is_available():
        return [""] * processes
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    cards = visible.split(",")
    if processes > len(cards):
        raise ConfigError(f"--num_processes is {processes}, but there are {len(cards)} GPUs")
    return cards[:processes]


def _on_card(free: Any, work: Callable[[int], Made], number: int) -> Made:
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
        return ResourceError("a process was killed, as the system does when memory runs out")
    if not isinstance(error, Exception):
        raise error
    return error
