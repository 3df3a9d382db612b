"""Many clients of one server in one event loop, each with a persistent connection."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One response, and its latency in seconds."""

    status: int
    json: Any
    seconds: float


class Client:
    """A connection that is opened again after the server announced its close. A reset raises."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, path: str, body: Any = None) -> Reply:
        """Send a GET, or a POST with a body, and wait for the response."""
        began = time.monotonic()
        await self.send(path, body)
        reader, _ = self.stream
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        content = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        if "connection: close" in head:
            self.close()
        found = json.loads(content) if "json" in head else content.decode()
        return Reply(int(head.split()[1]), found, time.monotonic() - began)

    async def send(self, path: str, body: Any = None) -> None:
        """Send a request without waiting for the response."""
        if self.stream is None:
            self.stream = await asyncio.open_connection(*self.address)
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{'POST' if content else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        )
        self.stream[1].write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        await self.stream[1].drain()

    def close(self) -> None:
        """Close the connection."""
        if self.stream is not None:
            self.stream[1].close()
            self.stream = None


def with_clients(server: Any, count: int, work: Callable[[list[Client]], Awaitable[Any]]) -> Any:
    """Run `work` with `count` clients of a server and return its result."""

    async def run() -> Any:
        clients = [Client(server.address) for _ in range(count)]
        try:
            return await work(clients)
        finally:
            for client in clients:
                client.close()
            await asyncio.sleep(0)

    return asyncio.run(run())


def pairs(score: int, *, size: int = 1, wait: float = 0.0) -> dict[str, Any]:
    """Make a body for the null server: `size` pairs with consecutive scores, in a batch that takes `wait` seconds."""
    return {"pairs": [[str(score + place), f"wait {wait}"] for place in range(size)]}


def scores(reply: Reply) -> list[float]:
    """Scores in a response of /match."""
    assert reply.status == 200, reply
    return [row["score"] for row in reply.json["results"]]
