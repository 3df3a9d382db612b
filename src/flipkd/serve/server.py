"""Server process: listen, load the model in a thread, answer requests, and shut down in order on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from flipkd.errors import RefusedError, ResourceError, UsageError
from flipkd.serve.app import create_app
from flipkd.serve.connections import ACCEPTED_AT_ONCE, HeaderTimeoutProtocol, limit_to_descriptors, rate_limited_logs
from flipkd.serve.request_guard import RequestGuard, is_loopback
from flipkd.serve.service import Service

logger = logging.getLogger(__name__)
BACKLOG = 2048
POLL_INTERVAL = 0.02  # seconds between two checks whether the last request is finished


def serve(
    service: Service,
    *,
    host: str,
    port: int,
    api_key: str | None = None,
    insecure: bool = False,
    listening: Callable[[str], None] = lambda url: None,
) -> bool:
    """Serve until SIGTERM or SIGINT; a second signal does not wait for the accepted requests.

    `listening` is a callback that gets the URL once the socket is bound, before the model is loaded. Returns True when the
    model's thread still runs for a request that was dropped: a normal exit of Python would wait for it. Raises
    RefusedError for an address that other machines reach without a key, unless `insecure`; UsageError or ResourceError
    for an address that cannot be bound; any error of loading the model.
    """
    loopback = is_loopback(host)
    if not loopback and api_key is None and not insecure:
        raise RefusedError(
            f"host {host} can be reached from other machines and there is no API key; give --api_key_file, "
            "listen on 127.0.0.1, or give --insecure"
        )
    with bound(host, port) as sock:
        app = create_app(service, api_key=api_key, loopback=loopback)
        server = Server(app, service)
        address, number = sock.getsockname()[:2]
        listening(f"http://{f'[{address}]' if ':' in address else address}:{number}")
        with rate_limited_logs("uvicorn.error", "asyncio"):
            server.run(sockets=[sock])
    if service.error is not None:
        raise service.error
    return service.running_calls > 0


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Open a listening socket; clients that connect now wait until the event loop runs."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"host {host} is not an address of this machine ({error.strerror})") from None
    sock = socket.socket(family, kind, protocol)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError as error:
            raise ResourceError(
                f"cannot listen on {host} port {port} ({error.strerror}); choose another --port, or 0 for any free port"
            ) from None
        yield sock


class Server(uvicorn.Server):
    """uvicorn's server with a shutdown in two steps: refuse new requests and finish accepted ones, then close."""

    def __init__(self, app: RequestGuard, service: Service) -> None:
        limits = service.limits
        max_connections = limit_to_descriptors(limits.max_connections)
        protocol = type(
            "Protocol",
            (HeaderTimeoutProtocol,),
            {"header_timeout": limits.header_timeout, "max_connections": max_connections},
        )
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=max_connections,
            backlog=ACCEPTED_AT_ONCE,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self.guard, self.service = app, service

    async def main_loop(self) -> None:
        """Run uvicorn's main loop; end it also when the model cannot be loaded."""
        failed = asyncio.ensure_future(self.service.finished.wait())
        failed.add_done_callback(lambda _: self._exit())
        await super().main_loop()
        failed.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        """Handle signals while the server runs; uvicorn would raise them again afterwards and change the exit code."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish accepted requests on the first signal, exit at once on the second."""
        if self.service.draining:
            self._exit()
            self.force_exit = True
            return
        self.service.draining = True
        logger.warning("shutting down: %d requests are in progress", self.guard.active_requests)
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop)

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.service.limits.grace):
                while self.guard.active_requests:
                    await asyncio.sleep(POLL_INTERVAL)
        self._exit()

    def _exit(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Store the event loop, which the signal handler needs."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        for sock in sockets or []:
            sock.listen(BACKLOG)  # asyncio set it to the number of connections that it accepts at once
