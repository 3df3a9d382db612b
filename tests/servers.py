"""Servers in child processes on free ports of this machine, and a simple HTTP client."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from forked import Forked

HERE = Path(__file__).parent
READY_TIMEOUT = 60.0


@dataclass(frozen=True)
class Response:
    """One response."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Running:
    """A server in a child process."""

    process: subprocess.Popen[str]
    address: tuple[str, int]

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.address, timeout=timeout)

    def request(self, path: str, body: Any = None, *, method: str | None = None, **headers: str) -> Response:
        """Send a GET, or a POST with a body: strings and bytes unchanged, other values as JSON."""
        connection = self.connect()
        sent = None if body is None else (body if isinstance(body, str | bytes) else json.dumps(body))
        media = {} if body is None else {"content-type": "application/json"}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, sent, media | names)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, found, response.read().decode())
        finally:
            connection.close()

    def stopped(self) -> str:
        """Stop the server in order and return what it logged."""
        self.process.terminate()
        _, log = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, log
        return log

    def until_ready(self, **headers: str) -> Running:
        deadline = time.monotonic() + READY_TIMEOUT
        while self.request("/readyz", **headers).status != 200:
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.02)
        return self


@contextmanager
def running(*words: Any, first_line_on: str = "stdout") -> Iterator[Running]:
    """Start a child process that prints its address in one of the first lines of a stream."""
    process = Forked(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE
    )
    try:
        lines = []
        while "http://" not in "".join(lines[-1:]):  # a warning may come first
            lines.append(getattr(process, first_line_on).readline())
            assert lines[-1], "".join(lines) + (process.stderr.read() if process.stderr else "")
        parts = urlsplit(lines[-1][lines[-1].index("http://") :].split(";")[0].strip())
        yield Running(process, (parts.hostname, parts.port))
    finally:
        process.kill()
        process.communicate()


@contextmanager
def null_server(**settings: Any) -> Iterator[Running]:
    with running(sys.executable, HERE / "null_server.py", json.dumps(settings)) as server:
        yield server


HEAD = "POST /match HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def sent_raw(server, *parts, pause=0.0, timeout=10):
    """Send raw bytes, and return everything received until the server closes the connection."""
    with socket.create_connection(server.address, timeout=timeout) as raw:
        for part in parts:
            try:
                raw.sendall(part)
            except OSError:
                break
            time.sleep(pause)
        found = b""
        try:
            while more := raw.recv(65536):
                found += more
        except ConnectionResetError:
            pass
        return found.decode("latin-1")
