"""Workers: several processes that accept connections of one socket, and the parent that starts, replaces and stops them.

`Supervisor` is the parent; `join_server` is what a worker does before it accepts connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flipkd.errors import ConfigError, FlipkdError, PeerError
from flipkd.serve.admin import LocalAdmin, WorkerAdmin
from flipkd.serve.models import Models
from flipkd.serve.peers import ERRORS, Peer, PeerGone
from flipkd.serve.reload import ReloadRunning
from flipkd.serve.request_guard import RequestGuard

logger = logging.getLogger("flipkd.progress")
RESTART_PAUSE = 2.0  # seconds before the replacement of a worker that could not be loaded
PARENT_CHECK = 0.5  # seconds between two checks that the parent lives


@dataclass(frozen=True)
class Link:
    """What a worker knows of its server: its number, its connection to the parent, and the parent's process id."""

    number: int
    sock: socket.socket
    parent: int


Work = Callable[[Link], None]


class _Worker:
    """One process as the parent sees it."""

    def __init__(self, number: int, process: Any, peer: Peer) -> None:
        self.number, self.process, self.peer = number, process, peer
        self.is_ready = False


def run_workers(work: Work, *, count: int, listener: socket.socket) -> None:
    """Run `work` in `count` processes until a signal. Raises ConfigError where processes cannot be forked, and PeerError."""
    if sys.platform != "linux":
        raise ConfigError(f"--workers {count} needs Linux; start several servers behind a balancer instead")
    asyncio.run(Supervisor(work, count=count, listener=listener).run())


class Supervisor:
    """Runs `work` in `count` processes until a signal; a process that was ready and ends is replaced."""

    def __init__(self, work: Work, *, count: int, listener: socket.socket) -> None:
        self._work, self._count, self._listener = work, count, listener
        self._workers: dict[int, _Worker] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = self._reloading = False
        self._aliases: dict[str, Any] | None = None
        self._failure: int | None = None

    async def run(self) -> None:
        """Run until all workers have ended. Raises PeerError when one could not be loaded at the start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_on_signal()))
        await asyncio.gather(*(self._keep(number) for number in range(self._count)))
        if self._failure is not None:
            error = PeerError("a worker could not be started; its own message is above")
            error.exit_code = self._failure
            raise error

    def _stop(self) -> None:
        """Pass SIGTERM on; each further signal too, which ends the workers at once."""
        self._stopping = True
        self._listener.close()  # or clients would wait in its queue after the last worker has ended
        for worker in self._workers.values():
            worker.process.terminate()

    async def _keep(self, number: int) -> None:
        """Keep one worker running."""
        was_ready = False
        while not self._stopping:
            worker = await self._start(number)
            receiving = asyncio.create_task(worker.peer.run())
            code = await _ended(worker.process)
            receiving.cancel()
            del self._workers[number]
            was_ready = was_ready or worker.is_ready
            if self._stopping:
                break
            if not was_ready:
                self._failure = code if code > 0 else 1
                self._stop()
                break
            logger.error("worker %d ended with code %d and is replaced", number, code)
            if not worker.is_ready:
                await asyncio.sleep(RESTART_PAUSE)

    async def _start(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        link = Link(number, theirs, os.getpid())
        process = multiprocessing.get_context("fork").Process(target=_run_worker, args=(self._work, link, ours))
        process.start()
        theirs.close()

        async def handle(name: str, arguments: dict[str, Any]) -> Any:
            """Answer a call of this worker."""
            if name == "ready":
                worker.is_ready = True
                return self._aliases
            return await self._in_all(name, arguments)

        worker = _Worker(number, process, await Peer.open(ours, handle))
        self._workers[number] = worker
        if self._stopping:
            process.terminate()
        return worker

    async def _in_all(self, name: str, arguments: dict[str, Any]) -> dict[int, Any]:
        """Make a call in one worker after another; stop at the first error."""
        if name != "reload":
            found = await self._in_each(name, arguments)
            if name == "set_aliases":
                self._aliases = next(iter(found.values()))
            return found
        if self._reloading:
            raise ReloadRunning("a reload is in progress; try again when it has ended")
        self._reloading = True
        try:
            found = await self._in_each(name, arguments)
            self._aliases = next(iter((await self._in_each("aliases", {})).values()))
            return found
        finally:
            self._reloading = False

    async def _in_each(self, name: str, arguments: dict[str, Any]) -> dict[int, Any]:
        found = {}
        for number, worker in sorted(self._workers.items()):
            try:
                found[number] = await worker.peer.call(name, **arguments)
            except PeerGone:  # its replacement reads everything from the beginning
                continue
        return found

    async def _reload_on_signal(self) -> None:
        try:
            await self._in_all("reload", {"only": None})
        except tuple(ERRORS.values()) as error:
            logger.warning("the reload by SIGHUP ended: %s", error)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ended(process: Any) -> int:
    """Wait for the end of a process and return its exit code, negative for a signal."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(process.sentinel, ended.set)
    await ended.wait()
    loop.remove_reader(process.sentinel)
    process.join()
    return int(process.exitcode)


def _run_worker(work: Work, link: Link, parents_end: socket.socket) -> None:
    """Run in the new process: forget the parent's event loop and signals, then work until the end."""
    asyncio.set_event_loop(None)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()  # Ctrl-C in a terminal reaches the parent alone, which passes it on
    parents_end.close()
    code = 1
    try:
        work(link)
        code = 0
    except FlipkdError as error:
        logger.error("worker %d: %s", link.number, error)
        code = error.exit_code
    except BaseException:
        logger.exception("worker %d failed", link.number)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a normal exit would wait for the model's thread


async def until_parent_ends(parent: int) -> None:
    """Wait until the parent has been killed: a worker alone would serve for ever."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_CHECK)


async def join_server(
    app: RequestGuard, models: Models, link: Link, *, parent_ended: Callable[[], None]
) -> list[asyncio.Task[Any]]:
    """Connect to the parent, load the models and report that they are ready. Returns tasks to cancel at the end.

    Not ready afterwards: a model could not be loaded, or the server shuts down.
    """
    state = app.app.state  # type: ignore[attr-defined]  # of FastAPI
    local: LocalAdmin = state.admin
    parent = await Peer.open(link.sock, local.handle)
    state.admin = WorkerAdmin(parent)

    async def watch_parent() -> None:
        """Shut down when the parent is gone."""
        await until_parent_ends(link.parent)
        parent_ended()

    tasks = [asyncio.create_task(work) for work in (parent.run(), watch_parent())]
    await models.start()
    await models.until_loaded()
    if models.state == "ready":
        with contextlib.suppress(PeerGone):
            if aliases := await parent.call("ready"):  # set by a request before this worker was there
                models.set_aliases(aliases)
    return tasks
