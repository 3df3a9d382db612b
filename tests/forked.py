"""Python commands in processes forked from a server that has imported everything: a start without seconds of imports.

What a library reads from the environment at its import (whether it shows bars, say) is that of the server.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver, reduction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

TIMEOUT = 120


def start(work: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
    """Begin `work(*arguments)` in a process forked from the server, which starts with the first of them."""
    context = multiprocessing.get_context("forkserver")
    here, before = str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")
    if here not in before.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([here, before])
    context.set_forkserver_preload(["preloaded"])
    process = context.Process(target=work, args=arguments)
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing would run the script of this process once more
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
    return process


def run(*words: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python WORDS` to its end, its output captured."""
    command = [sys.executable, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Forked(command, env=os.environ | environment, **pipes) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class Forked(subprocess.Popen):
    """A `subprocess.Popen` that forks a Python command from the server, and so do the commands that this one starts."""

    forked = None

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others):
        if args[0] != sys.executable or args[1:2] == ["-c"]:
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others)
            return
        pipes, new_session = others[3:9], others[-2]
        streams = [_Stream(number if fd == -1 else fd) for number, fd in enumerate((pipes[0], pipes[3], pipes[5]))]
        words = [word for word in map(str, args[1:]) if word != "-u"]
        self.forked = start(_run, words, dict(env or os.environ), str(cwd or Path.cwd()), streams, new_session)
        self.pid, self._child_created = self.forked.pid, True
        self._close_pipe_fds(*pipes)
        with contextlib.suppress(ProcessLookupError):  # it may have ended
            while new_session and os.getsid(self.pid) != self.pid:
                time.sleep(0.001)

    def _internal_poll(self, *arguments, **more):
        if self.forked is None:
            return super()._internal_poll(*arguments, **more)
        self.returncode = self.forked.exitcode if self.returncode is None else self.returncode
        return self.returncode

    def _wait(self, timeout):
        if self.forked is None:
            return super()._wait(timeout)
        self.forked.join(timeout)
        if self._internal_poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode


class _Stream:
    """A file descriptor that another process gets as well."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self):
        return _received, (reduction.DupFd(self.fd),)


def _received(duplicate: Any) -> _Stream:
    return _Stream(duplicate.detach())


def _run(
    words: list[str], environment: dict[str, str], folder: str, streams: list[_Stream], new_session: bool
) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream.fd, number)
        os.close(stream.fd)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115  line by line, as Python has it
    if new_session:
        os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    _fork_further_commands()
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")


def _fork_further_commands() -> None:
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    forkserver._forkserver.ensure_running = lambda: None  # this process would start a server of its own
    subprocess.Popen = subprocess_handler.Popen = Forked  # type: ignore[misc]
