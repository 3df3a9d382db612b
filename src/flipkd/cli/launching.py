"""`--num_processes N`: the same command in N processes, which torch's elastic launcher starts, watches and ends."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from flipkd import ranks
from flipkd.errors import ConfigError, PeerError, StoppedError, UsageError

PATIENCE = 600  # seconds to finish a step and save after a signal
COMMAND = ("-m", "flipkd")
Processes = Annotated[
    int | None,
    typer.Option("--num_processes", metavar="N", help="processes, each on a GPU of its own", show_default=False),
]
SideBySide = Annotated[
    int,
    typer.Option(
        "--num_processes",
        metavar="N",
        min=1,
        help="units computed side by side, each on a GPU of its own",
        show_default=False,
    ),
]


def in_one_process(verb: str) -> None:
    """Raise UsageError where a launcher has started several processes for a verb that is for one."""
    if ranks.launched():
        raise UsageError(f"flipkd {verb} is for one process; start it without torchrun or accelerate launch")


def in_processes(count: int | None) -> None:
    """Run this command in `count` processes and end with it; return where this process is one of them or the only one.

    The exit code is that of the process that failed first. Raises UsageError and ConfigError for a count that cannot be,
    StoppedError after a signal, which each process has got by then.
    """
    if count is None:
        return
    if count < 1:
        raise UsageError(f"--num_processes is {count}; it must be at least 1")
    if ranks.launched():
        if count != ranks.world_size():
            raise UsageError(
                f"--num_processes is {count}, but the launcher has started {ranks.world_size()}; leave it out"
            )
        return
    if count > 1:
        raise SystemExit(_launch(count))


def _launch(count: int) -> int:
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise ConfigError(f"--num_processes is {count}, but there are {torch.cuda.device_count()} GPUs")
    ranks.share_cores(count)
    _stay_on_this_machine()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        shutdown_timeout=PATIENCE,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it tells of every end at length
    try:
        elastic_launch(config, sys.executable)(*COMMAND, *sys.argv[1:])
    except ChildFailedError as error:
        return _explained(error.failures)
    except SignalException:
        raise StoppedError("stopped; the same command goes on") from None
    return 0


def _stay_on_this_machine() -> None:
    """Let the processes talk over the loopback interface, where gloo would take that of the machine's name."""
    if loopback := [name for _, name in socket.if_nameindex() if name.startswith("lo")]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])


def _explained(failures: Mapping[int, Any]) -> int:
    """The exit code of the rank that failed first; one that was killed could not say so itself.

    The launcher ends the others by SIGTERM, and counts time in seconds.
    """
    rank = min(failures, key=lambda rank: (failures[rank].exitcode == -signal.SIGTERM, failures[rank].timestamp))
    code: int = failures[rank].exitcode
    if code > 0:
        return code
    sys.stderr.write(
        f"flipkd: rank {rank} was killed by signal {-code}, as the system does when memory runs out, and the others were "
        "ended; run the same command to go on\n"
    )
    return PeerError.exit_code
