"""Models: the matchers of a server under their names and aliases; each request gets one version of one of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from flipkd import progress
from flipkd.errors import UsageError, nearest
from flipkd.serve.aliases import Aliases, choose, read_aliases
from flipkd.serve.limits import Limits
from flipkd.serve.loaded import Loaded
from flipkd.serve.service import Service, State

logger = progress.logger
LOAD_CHECK = 0.05  # seconds between two checks whether the models are loaded
RESTARTS = 3  # within RESTART_WINDOW; a matcher that dies more often ends the server
RESTART_WINDOW = 600.0  # seconds
RESTART_PAUSE = 5.0  # seconds until the next try to load a matcher that could not be loaded


class UnknownModel(Exception):
    """A request names a model that this server does not have."""


@dataclass(frozen=True)
class Found:
    """A matcher folder: its version, a short hash, and the function that loads it."""

    version: str
    load: Callable[[], Loaded]


@dataclass(frozen=True)
class Plan:
    """What a server serves. `find` looks at a matcher's folder again, so that a link may lead to another one."""

    find: Mapping[str, Callable[[], Found]]
    aliases: Mapping[str, Any] = field(default_factory=dict)
    default: str | None = None
    """Name or alias for requests that name no model; None: the first alias, or else the first matcher."""
    strict: bool = True
    """False: a request that names an unknown model gets the default, as servers of one model do."""

    def check(self) -> Aliases:
        """Return the aliases. Raises UsageError for a name that does not exist."""
        aliases = read_aliases(self.aliases, matchers=list(self.find))
        if self.default is not None and self.default not in {*self.find, *aliases}:
            raise UsageError(
                f"default: no matcher or alias is called {self.default!r}; {nearest(self.default, [*self.find, *aliases])}"
            )
        return aliases


class Models:
    """One service per matcher; `read_plan` is called at the start and at each reload."""

    def __init__(self, read_plan: Callable[[], Plan], *, limits: Limits) -> None:
        self.read_plan, self.limits = read_plan, limits
        self._created: WeakSet[Service] = WeakSet()  # those that a reload is loading too
        self.plan = read_plan()
        self.aliases = self.plan.check()
        self.services = {name: self.new_service(name, find().load) for name, find in self.plan.find.items()}
        self.error: BaseException | None = None
        self.draining = self.reloading = self._is_started = False
        self.finished = asyncio.Event()
        """Set when the server must end: a matcher could not be loaded, or died too often."""
        self.restarts: list[float] = []
        """Times of restarts after a death, by time.monotonic."""
        self._retired: set[Service] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def new_service(self, name: str, load: Callable[[], Loaded]) -> Service:
        """Create a service, which does not load its model yet."""
        service = Service(load, limits=self.limits, name=name)
        self._created.add(service)
        return service

    async def start(self) -> None:
        """Start to load all matchers, one at a time; requests are accepted as soon as theirs is loaded. Only once."""
        if self._is_started:
            return
        self._is_started = True
        for service in self.services.values():
            await service.start()
            self.watch(service)
        self._spawn(self._report_loaded())

    async def until_loaded(self) -> None:
        """Wait until all matchers answer, or the server must end or shuts down."""
        while self.state in ("loading", "failed") and self.error is None:
            await asyncio.sleep(LOAD_CHECK)

    async def _report_loaded(self) -> None:
        for service in list(self.services.values()):
            await service.until_loaded()
        logger.info("the model is loaded; requests are accepted")

    async def stop(self) -> None:
        """Stop at once, without waiting for requests."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for service in [*self.services.values(), *self._retired]:
            await service.stop()

    def begin_drain(self) -> None:
        """Refuse new requests; those in progress are answered."""
        self.draining = True
        for service in self.services.values():
            service.draining = True

    def fail(self, error: BaseException | None) -> None:
        """End the server with an error."""
        self.error = error
        self.finished.set()

    @property
    def state(self) -> State:
        """State of the server: ready when each of its matchers is."""
        states = {service.state for service in self.services.values()}
        if self.draining:
            return "draining"
        return next((state for state in ("failed", "loading") if state in states), "ready")

    @property
    def running_calls(self) -> int:
        """Number of calls in progress in the threads of all models."""
        return sum(service.thread.running_calls for service in self._created)

    @property
    def default(self) -> str:
        """Name or alias for requests that name no model."""
        return self.plan.default or next(iter({**self.aliases, **self.services}))

    def choose(self, name: str | None, *, client: str | None) -> tuple[Service, str | None]:
        """Return the service for a request, and the alias by which it was chosen. Raises UnknownModel."""
        wanted = name if name is not None and (name in self.services or name in self.aliases) else None
        if wanted is None:
            if name is not None and self.plan.strict:
                names = ", ".join([*self.aliases, *self.services])
                raise UnknownModel(f"this server has no model of that name; it has: {names}")
            wanted = self.default
        if wanted in self.services:
            return self.services[wanted], None
        return self.services[choose(wanted, self.aliases[wanted], client)], wanted

    def set_aliases(self, given: Mapping[str, Any]) -> None:
        """Replace all aliases at once. Raises UsageError, and changes nothing then."""
        aliases = read_aliases(given, matchers=list(self.services))
        default = self.plan.default
        if default is not None and default not in {*self.services, *aliases}:
            raise UsageError(f"requests that name no model get {default}, which must be among the aliases")
        self.aliases = aliases
        logger.info("aliases: %s", aliases)

    def swap(self, service: Service) -> None:
        """Let a loaded service answer new requests from now on; the old one finishes its own and is stopped."""
        self.retire(self.services.get(service.name))
        self.services[service.name] = service
        service.draining = self.draining
        self.watch(service)

    def retire(self, service: Service | None) -> None:
        """Stop a service once its requests are answered."""
        if service is not None:
            self._retired.add(service)
            self._spawn(self._drain(service))

    async def _drain(self, service: Service) -> None:
        await service.drain()
        self._retired.discard(service)
        gc.collect()  # otherwise each reload leaves memory in cycles; short, since `serve` freezes what was imported

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # that of a model which could not be loaded; `_restart_dead` handles it

    def watch(self, service: Service) -> None:
        """Load a matcher again when its service dies."""
        self._spawn(self._restart_dead(service))

    async def _restart_dead(self, service: Service) -> None:
        """Wait until a service ends by itself, then replace it; one that was never loaded ends the server."""
        await service.finished.wait()
        if service.error is not None and not service.was_loaded:
            self.fail(service.error)
        while service.error is not None and self.services.get(service.name) is service and not self._ends(service):
            logger.error("%s is loaded again: %s", service.name, service.error, exc_info=service.error)
            self.retire(service)
            service = self.services[service.name] = self.new_service(service.name, self._load_again(service.name))
            await service.start()
            with contextlib.suppress(Exception):
                await service.until_loaded()
                if service.was_loaded:  # else a reload has swapped in a new version meanwhile, and stopped this one
                    logger.info("%s is loaded again; requests are accepted", service.name)
                    self.watch(service)
                return
            await asyncio.sleep(RESTART_PAUSE)

    def _ends(self, service: Service) -> bool:
        """Count a death; True, and the end of the server, when there were too many within a short time."""
        now = time.monotonic()
        self.restarts = [then for then in self.restarts if now - then < RESTART_WINDOW] + [now]
        if len(self.restarts) > RESTARTS:
            self.fail(service.error)
        return self.error is not None

    def _load_again(self, name: str) -> Callable[[], Loaded]:
        return lambda: self.plan.find[name]().load()
