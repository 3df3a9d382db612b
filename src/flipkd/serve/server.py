"""Server process: listen, load the model in a thread, answer requests, and shut down in order on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator, Sequence
from types import FrameType

import uvicorn

from flipkd.errors import RefusedError, ResourceError, UsageError
from flipkd.serve.access import Access
from flipkd.serve.addresses import is_loopback
from flipkd.serve.connections import limit_to_descriptors, rate_limited_logs
from flipkd.serve.cors import ANY, check_origins, with_cors
from flipkd.serve.header_timeout import ACCEPTED_AT_ONCE, HeaderTimeout
from flipkd.serve.limits import Limits
from flipkd.serve.models import Models
from flipkd.serve.reload import reload_on_signal
from flipkd.serve.request_guard import RequestGuard
from flipkd.serve.service import POLL_INTERVAL
from flipkd.serve.workers import Link, join_server

logger = logging.getLogger(__name__)
BACKLOG = 2048
RELOAD = getattr(signal, "SIGHUP", None)  # not on Windows


def check_exposure(host: str, *, access: Access, insecure: bool, cors_origins: Sequence[str]) -> None:
    """Check who could use the server.

    Raises RefusedError for an address that other machines reach, or for all origins, without a key, unless `insecure`;
    UsageError for an origin that is none.
    """
    check_origins(cors_origins)
    if not is_loopback(host) and access.keys is None and not insecure:
        raise RefusedError(
            f"host {host} can be reached from other machines and there is no API key; give --api_key_file, "
            "listen on 127.0.0.1, or give --insecure"
        )
    if ANY in cors_origins and access.keys is None and not insecure:
        raise RefusedError(
            "--cors_origins * would let every web page that a user of this machine visits use the server, and there is no API "
            "key; give --api_key_file, name the origins, or give --insecure"
        )


def run(app: RequestGuard, models: Models, sock: socket.socket, *, link: Link | None = None) -> None:
    """Serve on a listening socket until a signal; `link`: as a worker of several. Raises the error that ended the models."""
    with rate_limited_logs("uvicorn.error", "asyncio"):
        asyncio.run(_run(app, models, sock, link))
    if models.error is not None:
        raise models.error


def url_of(sock: socket.socket) -> str:
    """Return the URL of a listening socket."""
    address, number = sock.getsockname()[:2]
    return f"http://{f'[{address}]' if ':' in address else address}:{number}"


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


async def _run(app: RequestGuard, models: Models, sock: socket.socket, link: Link | None) -> None:
    """Run uvicorn on a listening socket until a signal comes or a model has failed.

    A server of one process answers health checks while it loads; a worker of several accepts connections only afterwards.
    """
    server = uvicorn.Server(_config(app, models.limits))
    signals = Signals(server, app, models)
    with signals.on_signals():
        tasks = [] if link is None else await join_server(app, models, link, parent_ended=signals.shut_down)
        if link is not None and models.state != "ready":
            return
        running = asyncio.create_task(server.serve(sockets=[sock]))
        while not (server.started or running.done()):
            await asyncio.sleep(0)
        # Again, since uvicorn has replaced the handlers by its own, which raise the signal at the end.
        with signals.on_signals():
            if not running.done():
                sock.listen(BACKLOG)  # asyncio has set it to the number of connections that it accepts at once
            failed = asyncio.create_task(models.finished.wait())
            await asyncio.wait({running, failed}, return_when=asyncio.FIRST_COMPLETED)
            failed.cancel()
            server.should_exit = True
            await running
    for task in tasks:
        task.cancel()


def _config(app: RequestGuard, limits: Limits) -> uvicorn.Config:
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


class Signals:
    """SIGTERM and SIGINT shut down, SIGHUP reloads the models.

    Shutdown has two steps: refuse new requests and finish accepted ones, then close; a second signal closes at once.
    """

    def __init__(self, server: uvicorn.Server, guard: RequestGuard, models: Models) -> None:
        self.server, self.guard, self.models = server, guard, models
        self._loop = asyncio.get_running_loop()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle signals while the context is open."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        if RELOAD is not None:
            before[RELOAD] = signal.signal(RELOAD, self._on_reload)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.shut_down()

    def shut_down(self) -> None:
        """Shut down; at once when it has begun before."""
        if self.models.draining:
            self.server.should_exit = self.server.force_exit = True
            return
        self.models.begin_drain()
        logger.warning("shutting down: %d requests are in progress", self.guard.active_requests)
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop)

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        asyncio.run_coroutine_threadsafe(reload_on_signal(self.models), self._loop)

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.models.limits.grace):
                while self.guard.active_requests:
                    await asyncio.sleep(POLL_INTERVAL)
        self.server.should_exit = True
