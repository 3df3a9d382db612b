"""Launch of one command in N processes (`--num_processes N`) by torch's elastic launcher."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from flipkd import ranks
from flipkd.errors import ConfigError, PeerError, StoppedError, UsageError

SHUTDOWN_TIMEOUT = 600  # seconds to finish a step and save after a signal
COMMAND = ("-m", "flipkd")
Processes = Annotated[
    int | None,
    typer.Option("--num_processes", metavar="N", help="number of processes, one GPU each", show_default=False),
]
ParallelRuns = Annotated[
    int,
    typer.Option(
        "--num_processes",
        metavar="N",
        min=1,
        help="number of runs computed in parallel, one GPU each",
        show_default=False,
    ),
]


def require_one_process(subcommand: str) -> None:
    """Raise UsageError when a launcher has started several processes of a single-process subcommand."""
    if ranks.launched():
        raise UsageError(f"flipkd {subcommand} runs in one process; start it without torchrun or accelerate launch")


def launch_processes(count: int | None) -> None:
    """Run this command in `count` processes and exit; return at once in a process of a launcher, or for a count of 1.

    The exit code is that of the process that failed first. Raises UsageError or ConfigError for an impossible count,
    StoppedError after a signal, which each process has received by then.
    """
    if count is None:
        return
    if count < 1:
        raise UsageError(f"--num_processes is {count}; it must be at least 1")
    if ranks.launched():
        if count != ranks.world_size():
            raise UsageError(
                f"--num_processes is {count}, but the launcher has started {ranks.world_size()} processes; leave the option out"
            )
        return
    if count > 1:
        raise SystemExit(_launch(count))


def _launch(count: int) -> int:
    import torch
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise ConfigError(
            f"--num_processes is {count}, but this machine has {torch.cuda.device_count()} GPUs; use at most one process per GPU"
        )
    ranks.share_cores(count)
    _use_loopback()
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it logs a long report for every exit
    with tempfile.TemporaryDirectory(prefix="flipkd-") as logs:  # the launcher would leave one behind
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, sys.executable)(*COMMAND, *sys.argv[1:])
        except ChildFailedError as error:
            return _first_exit_code(error.failures)
        except SignalException:
            raise StoppedError("stopped; run the same command to resume") from None
    return 0


def _use_loopback() -> None:
    """Make gloo use the loopback interface instead of the interface of the host name."""
    if loopback := [name for _, name in socket.if_nameindex() if name.startswith("lo")]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])


def _first_exit_code(failures: Mapping[int, Any]) -> int:
    """Return the exit code of the rank that failed first, and report a rank that was killed by a signal.

    The launcher ends the other ranks by SIGTERM, so these come last; its timestamps have a resolution of one second.
    """
    rank = min(failures, key=lambda rank: (failures[rank].exitcode == -signal.SIGTERM, failures[rank].timestamp))
    code: int = failures[rank].exitcode
    if code > 0:
        return code
    sys.stderr.write(
        f"flipkd: rank {rank} was killed by signal {-code} (the system does this when memory runs out) and the other ranks "
        "were ended; run the same command to resume\n"
    )
    return PeerError.exit_code
