"""Work in forked processes: one that may be killed, or ranks that talk by gloo."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import TIMEOUT, start


def in_world(size: int, work: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """Return the results of `work(*arguments)` on each of `size` ranks; `work` is in a module that tests can import."""
    import torch

    folder.mkdir(parents=True)
    ranks = [start(_rank, rank, size, folder, work, arguments) for rank in range(size)]
    for process in ranks:
        process.join(TIMEOUT)
        process.kill()
    assert [process.exitcode for process in ranks] == [0] * size
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)]


def exit_code_of(work: Callable[..., Any], *arguments: Any) -> int | None:
    """Run `work(*arguments)` in a process; return its exit code, minus the signal that killed it, None if it did not end."""
    process = start(work, *arguments)
    process.join(TIMEOUT)
    code = process.exitcode
    process.kill()
    return code


def _rank(rank: int, size: int, folder: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size)
    torch.save(work(*arguments), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def what_ranks_see() -> dict[str, Any]:
    """Return the result of each function of `flipkd.ranks` on this rank."""
    import contextlib
    import time

    from flipkd import ranks
    from flipkd.errors import ConfigError, FlipkdError

    def fail() -> None:
        raise ConfigError("rank 0 cannot")

    def caught(function: Callable[[], Any]) -> list[Any]:
        try:
            function()
        except FlipkdError as error:
            return [type(error).__name__, error.exit_code]
        return []

    def lose() -> None:
        with ranks.together():
            raise RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1")

    entered: list[int] = []
    found: dict[str, Any] = {"on_rank_0": ranks.on_rank_0(lambda: 7)}
    found["time"] = ranks.rank_0_first(time.monotonic)
    found["broadcast"] = ranks.broadcast(100 + ranks.rank())
    with ranks.entered_on_rank_0(lambda: contextlib.nullcontext(entered.append(1))):
        found["entered"] = len(entered)
    vote = ranks.Vote()
    found["votes"] = [vote.cast(ranks.rank() == 1 and call == 1) for call in range(4)]
    found["failed"] = caught(lambda: ranks.on_rank_0(fail))
    found["lost"] = caught(lose)
    return found


def seventh_of(number: int) -> float:
    """Work for `spread`: 7 / number; 13 kills its process."""
    import signal
    import time

    if number == 13:
        time.sleep(1)  # the others are done by then
        os.kill(os.getpid(), signal.SIGKILL)
    return 7 / number


def card_of(_number: int) -> str:
    """Work for `spread`: the GPU that this process sees."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")
