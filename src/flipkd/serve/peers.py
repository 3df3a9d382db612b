"""Peers: two processes that call each other over a socket; messages are lines of JSON, nothing is unpickled."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from flipkd.errors import UsageError
from flipkd.serve.reload import ReloadFailed, ReloadRunning
from flipkd.serve.service import NotReady

Handler = Callable[[str, dict[str, Any]], Awaitable[Any]]
LONGEST_MESSAGE = 2**24  # bytes
ERRORS: dict[str, type[Exception]] = {
    error.__name__: error for error in (NotReady, ReloadFailed, ReloadRunning, UsageError)
}


class PeerGone(Exception):
    """The other process has ended."""


class Peer:
    """One end of the connection: `call` runs a function of the other process, `handle` those that the other calls."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
        self._reader, self._writer, self._handle = reader, writer, handle
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = False

    @classmethod
    async def open(cls, sock: socket.socket, handle: Handler) -> Peer:
        """Use a connected socket; `run` must be started too."""
        return cls(*await asyncio.open_connection(sock=sock, limit=LONGEST_MESSAGE), handle)

    async def run(self) -> None:
        """Receive messages until the other process ends; its calls run side by side."""
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                if "call" in message:
                    task = asyncio.create_task(self._answer(message))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                elif (future := self._waiting.pop(message["number"], None)) and not future.done():
                    _finish(future, message)
        except OSError:
            pass
        finally:
            self._gone = True
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(PeerGone())
            self._writer.close()

    async def call(self, name: str, **arguments: Any) -> Any:
        """Call a function of the other process. Raises PeerGone when it ends, and its own error where ERRORS has it."""
        if self._gone:
            raise PeerGone
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._send({"number": number, "call": name, "arguments": arguments})
        return await future

    async def _answer(self, message: dict[str, Any]) -> None:
        try:
            found = {"result": await self._handle(message["call"], message["arguments"])}
        except Exception as error:
            found = {"error": type(error).__name__, "text": str(error)}
        self._send({"number": message["number"]} | found)

    def _send(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")


def _finish(future: asyncio.Future[Any], message: dict[str, Any]) -> None:
    if "error" in message:
        future.set_exception(ERRORS.get(message["error"], RuntimeError)(message["text"]))
    else:
        future.set_result(message["result"])
