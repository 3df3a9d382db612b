"""One process of several that train together: which one it is, how they wait for each other, how all end when one fails.

A launcher (torchrun, accelerate launch, --num_processes) tells each by RANK, LOCAL_RANK and WORLD_SIZE, as
torch.distributed has it. Without them there is one process, and nothing here costs anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from flipkd.cores import set_threads, usable_cores
from flipkd.errors import PeerError

Made = TypeVar("Made")
# Rank 0 alone asks the teacher for a million texts, or scores as many pairs: hours. A process that died ends the waiting
# at once, so that this bounds only what hangs.
PATIENCE = timedelta(hours=12)
GRACE = 3.0  # seconds in which the launcher ends a process that has nothing to say because another one says it
SIGNS = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL", "TCPStore", "Broken pipe")


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys() and int(os.environ["WORLD_SIZE"]) > 1


def world_size() -> int:
    """How many processes train together, 1 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def rank() -> int:
    """The number of this process among all, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def local_rank() -> int:
    """The number of this process among those of this machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0


def share_cores(processes: int) -> None:
    """Give each of so many processes that start now its part of the cores, unless OMP_NUM_THREADS says otherwise."""
    set_threads(max(usable_cores() // processes, 1))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A block that all ranks begin and end together, over the process group that is there or is made in it.

    Raises PeerError when another rank is lost.
    """
    if not launched():
        yield
        return
    import torch.distributed as dist

    was_there = dist.is_initialized()
    try:
        yield
        wait()
    except (RuntimeError, dist.DistError) as error:
        if not any(sign in str(error) for sign in SIGNS):
            raise
        raise PeerError(
            f"rank {rank()} has lost another process of this run ({_first_line(error)}); if nothing above says why, it "
            "was killed, as the system does when memory runs out: run the same command to go on"
        ) from error
    _waiting.cache_clear()
    if not was_there:
        dist.destroy_process_group()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]


@cache
def _waiting() -> Any:
    """The group that processes wait in: on the CPU, so that no GPU spins meanwhile and no kernel's time limit counts."""
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=PATIENCE)


def wait() -> None:
    """Until all ranks are here."""
    if launched():
        import torch.distributed as dist

        dist.barrier(group=_waiting())


def same(number: int) -> int:
    """Rank 0's number, on all ranks."""
    if not launched():
        return number
    import torch
    import torch.distributed as dist

    told = torch.tensor([number])
    dist.broadcast(told, src=0, group=_waiting())
    return int(told)


def first(function: Callable[[], Made]) -> Made | None:
    """What rank 0 makes of `function`; the others wait for it and get None.

    When it fails there, the others raise PeerError with the same exit code.
    """
    if not launched():
        return function()
    made, failure, code = None, None, 0
    if rank() == 0:
        try:
            made = function()
        except BaseException as error:
            failure, code = error, int(getattr(error, "exit_code", 1))
    code = same(code)
    if failure is not None:
        raise failure
    if code:
        ended = PeerError("rank 0 could not go on and says why; this process ends with it")
        ended.exit_code = code
        raise ended
    return made


def in_turn(function: Callable[[], Made]) -> Made:
    """What each rank makes of `function`, rank 0 before the others, which find what it has stored."""
    made = first(lambda: [function()])
    return made[0] if made else function()


@contextlib.contextmanager
def led(open_context: Callable[[], contextlib.AbstractContextManager[Any]]) -> Iterator[None]:
    """A block inside a context, which rank 0 alone opens; when that fails, all end as in `first`."""
    with contextlib.ExitStack() as stack:
        first(lambda: stack.enter_context(open_context()))
        yield


class Vote:
    """Whether any rank asked for something, known to all of them one call later, so that no rank waits for another."""

    def __init__(self) -> None:
        self._asked: tuple[Any, Any] | None = None

    def cast(self, asked: bool) -> bool:
        """Say whether this rank asks; returns whether any did by the call before. Alone: `asked` itself."""
        if not launched():
            return asked
        import torch
        import torch.distributed as dist

        before, flag = self._asked, torch.tensor([int(asked)])
        self._asked = flag, dist.all_reduce(flag, dist.ReduceOp.MAX, group=_waiting(), async_op=True)
        if before is None:
            return False
        before[1].wait()
        return bool(before[0])
