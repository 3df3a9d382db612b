"""Ranks of a distributed run: the number of this process, barriers, and one common end when a rank fails.

A launcher (torchrun, accelerate launch, --num_processes) sets RANK, LOCAL_RANK and WORLD_SIZE, as torch.distributed
expects. Without them there is one process, and the functions here neither wait nor import torch.
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

Result = TypeVar("Result")
# Rank 0 alone may compute teacher outputs of a million texts, which takes hours. A dead process ends the wait at once, so
# this limit is for processes that hang.
PATIENCE = timedelta(hours=12)
GRACE = 3.0  # seconds in which the launcher ends a process whose error another rank reports
SIGNS = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL", "TCPStore", "Broken pipe")


def launched() -> bool:
    """Return whether a launcher started this process as one of several."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys() and int(os.environ["WORLD_SIZE"]) > 1


def world_size() -> int:
    """Return the number of processes of the run, 1 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def rank() -> int:
    """Return the number of this process in the run, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def local_rank() -> int:
    """Return the number of this process on its machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0


def share_cores(processes: int) -> None:
    """Divide the usable cores among `processes` that will be started, unless the user has set OMP_NUM_THREADS."""
    set_threads(max(usable_cores() // processes, 1))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Context manager with a barrier at its end; a process group that its block makes is destroyed there.

    Raises PeerError when the connection to another rank is lost.
    """
    if not launched():
        yield
        return
    import torch.distributed as dist

    was_initialized = dist.is_initialized()
    try:
        yield
        barrier()
    except (RuntimeError, dist.DistError) as error:
        if not any(sign in str(error) for sign in SIGNS):
            raise
        raise PeerError(
            f"rank {rank()} has lost another process of this run ({_first_line(error)}); without an error above, the system "
            "killed it, as it does when memory runs out: run the same command to resume"
        ) from error
    _barrier_group.cache_clear()
    if not was_initialized:
        dist.destroy_process_group()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]


@cache
def _barrier_group() -> Any:
    """Process group for waiting: on the CPU, so that no GPU is busy meanwhile and no time limit of a kernel applies."""
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=PATIENCE)


def barrier() -> None:
    """Wait until all ranks have called this."""
    if launched():
        import torch.distributed as dist

        dist.barrier(group=_barrier_group())


def broadcast(number: int) -> int:
    """Return the number of rank 0 on all ranks."""
    if not launched():
        return number
    import torch
    import torch.distributed as dist

    value = torch.tensor([number])
    dist.broadcast(value, src=0, group=_barrier_group())
    return int(value)


def on_rank_0(function: Callable[[], Result]) -> Result | None:
    """Call `function` on rank 0 alone and return its result there; the other ranks wait and get None.

    When it fails, the other ranks raise PeerError with the same exit code.
    """
    if not launched():
        return function()
    result, failure, code = None, None, 0
    if rank() == 0:
        try:
            result = function()
        except BaseException as error:
            failure, code = error, int(getattr(error, "exit_code", 1))
    code = broadcast(code)
    if failure is not None:
        raise failure
    if code:
        ended = PeerError("rank 0 failed and reports the error; this process ends as well")
        ended.exit_code = code
        raise ended
    return result


def rank_0_first(function: Callable[[], Result]) -> Result:
    """Call `function` on every rank, on rank 0 before the others, which then find its cached files."""
    result = on_rank_0(lambda: [function()])
    return result[0] if result else function()


@contextlib.contextmanager
def entered_on_rank_0(open_context: Callable[[], contextlib.AbstractContextManager[Any]]) -> Iterator[None]:
    """Context manager that enters another one on rank 0 alone; when that fails, all ranks end as in `on_rank_0`."""
    with contextlib.ExitStack() as stack:
        on_rank_0(lambda: stack.enter_context(open_context()))
        yield


class Vote:
    """Asynchronous "any": whether a rank voted yes, known to all ranks one call later, so that no rank waits for another."""

    def __init__(self) -> None:
        self._pending: tuple[Any, Any] | None = None

    def cast(self, yes: bool) -> bool:
        """Cast the vote of this rank; return whether any rank voted yes in the call before. In one process: `yes` itself."""
        if not launched():
            return yes
        import torch
        import torch.distributed as dist

        before, flag = self._pending, torch.tensor([int(yes)])
        self._pending = flag, dist.all_reduce(flag, dist.ReduceOp.MAX, group=_barrier_group(), async_op=True)
        if before is None:
            return False
        before[1].wait()
        return bool(before[0])
