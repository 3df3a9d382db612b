"""Server process: listen, load the model in a thread, answer requests, and shut down in order on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import uvicorn

from flipkd.errors import RefusedError, ResourceError, UsageError
from flipkd.serve.app import create_app
from flipkd.serve.connections import limit_to_descriptors, rate_limited_logs
from flipkd.serve.cors import ANY, check_origins, with_cors
from flipkd.serve.header_timeout import ACCEPTED_AT_ONCE, HeaderTimeout
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
    cors_origins: Sequence[str] = (),
    listening: Callable[[str], None] = lambda url: None,
) -> bool:
    """Serve until SIGTERM or SIGINT; a second signal does not wait for the accepted requests.

    `listening` is a callback that gets the URL once the socket is bound, before the model is loaded. Returns True when the
    model's thread still runs for a request that was dropped: a normal exit of Python would wait for it. Raises
    RefusedError for an address that other machines reach, or for all origins, without a key, unless `insecure`;
    UsageError for an origin that is none; UsageError or ResourceError for an address that cannot be bound; any error of
    loading the model.
    """
    check_origins(cors_origins)
    loopback = is_loopback(host)
    if not loopback and api_key is None and not insecure:
        raise RefusedError(
            f"host {host} can be reached from other machines and there is no API key; give --api_key_file, "
            "listen on 127.0.0.1, or give --insecure"
        )
    if ANY in cors_origins and api_key is None and not insecure:
        raise RefusedError(
            "--cors_origins * would let every web page that a user of this machine visits use the server, and there is no API "
            "key; give --api_key_file, name the origins, or give --insecure"
        )
    with bound(host, port) as sock:
        app = create_app(service, api_key=api_key, loopback=loopback, cors_origins=cors_origins)
        address, number = sock.getsockname()[:2]
        listening(f"http://{f'[{address}]' if ':' in address else address}:{number}")
        with rate_limited_logs("uvicorn.error", "asyncio"):
            asyncio.run(_run(app, service, sock))
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


async def _run(app: RequestGuard, service: Service, sock: socket.socket) -> None:
    """Run uvicorn on a listening socket until a signal comes or the service has failed."""
    server = uvicorn.Server(_config(app, service))
    shutdown = Shutdown(server, app, service)
    with shutdown.on_signals():
        running = asyncio.create_task(server.serve(sockets=[sock]))
        while not (server.started or running.done()):
            await asyncio.sleep(0)
        with (
            shutdown.on_signals()
        ):  # again: uvicorn has replaced the handlers by its own, which raise the signal at the end
            if not running.done():
                sock.listen(BACKLOG)  # asyncio has set it to the number of connections that it accepts at once
            failed = asyncio.create_task(service.finished.wait())
            await asyncio.wait({running, failed}, return_when=asyncio.FIRST_COMPLETED)
            failed.cancel()
            server.should_exit = True
            await running


def _config(app: RequestGuard, service: Service) -> uvicorn.Config:
    limits = service.limits
    max_connections = limit_to_descriptors(limits.max_connections)
    timed = HeaderTimeout(
        with_cors(app, app.cors_origins), timeout=limits.header_timeout, max_connections=max_connections
    )
    return uvicorn.Config(
        timed,
        http=timed.protocol,  # type: ignore[arg-type]  # uvicorn calls it as it calls a class
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


class Shutdown:
    """Shutdown in two steps: refuse new requests and finish accepted ones, then close; a second signal closes at once."""

    def __init__(self, server: uvicorn.Server, guard: RequestGuard, service: Service) -> None:
        self.server, self.guard, self.service = server, guard, service
        self._loop = asyncio.get_running_loop()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle signals while the context is open."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.service.draining:
            self.server.should_exit = self.server.force_exit = True
            return
        self.service.draining = True
        logger.warning("shutting down: %d requests are in progress", self.guard.active_requests)
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop)

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.service.limits.grace):
                while self.guard.active_requests:
                    await asyncio.sleep(POLL_INTERVAL)
        self.server.should_exit = True
