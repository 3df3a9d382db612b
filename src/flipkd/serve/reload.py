"""Reload: load a new version of a matcher beside the old one, check it, and swap them between two requests."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from flipkd import progress
from flipkd.serve.aliases import Aliases, read_aliases
from flipkd.serve.models import Found, Models, Plan
from flipkd.serve.service import NotReady, Service

logger = progress.logger


class ReloadRunning(Exception):
    """Another reload is in progress."""


class ReloadFailed(Exception):
    """A new version could not be loaded; the old ones go on. The message has no path, the log has all."""


@dataclass(frozen=True)
class Reloaded:
    """What a reload did with one matcher: version before (None: it is new) and after (None: it was removed)."""

    model: str
    before: str | None
    after: str | None
    seconds: float = 0.0


async def reload(models: Models, *, only: str | None = None) -> list[Reloaded]:
    """Load each matcher whose folder has changed; one after another, so that at most one is in memory twice.

    `only`: of those that are served already, only this one.

    Requests in progress finish on the version that they began with. The golden pair and the manifest are checked before the
    swap. Raises ReloadRunning, NotReady while the server starts or stops, and ReloadFailed; matchers that were swapped
    before the one that failed stay swapped.
    """
    if models.reloading:
        raise ReloadRunning("a reload is in progress; try again when it has ended")
    if models.state in ("loading", "draining"):
        raise NotReady(f"the server is {models.state}")
    models.reloading = True
    try:
        plan, aliases = await _new_plan(models)
        names = [name for name in plan.find if only in (None, name) or name not in models.services]
        done = [await _reload_one(models, plan, name) for name in names]
        models.plan, models.aliases = plan, aliases
        removed = [name for name in models.services if name not in plan.find]
        return done + [_remove(models, name) for name in removed]
    finally:
        models.reloading = False


async def reload_on_signal(models: Models) -> None:
    """Reload, and log what comes of it; the log has the reason of a failure already."""
    try:
        await reload(models)
    except ReloadFailed:
        pass
    except (ReloadRunning, NotReady) as error:
        logger.warning("SIGHUP has no effect: %s", error)


async def _new_plan(models: Models) -> tuple[Plan, Aliases]:
    """Read the plan again. Aliases that were set by a request stay until the file has others."""
    try:
        plan = await asyncio.to_thread(models.read_plan)
        aliases = plan.check()
        if plan.aliases == models.plan.aliases:
            aliases = read_aliases(models.aliases, matchers=list(plan.find))
        return plan, aliases
    except Exception as error:
        raise _failed("the settings", "everything stays as it was", error) from None


async def _reload_one(models: Models, plan: Plan, name: str) -> Reloaded:
    old, began = models.services.get(name), time.monotonic()
    before = old.version if old is not None and old.state == "ready" else None
    try:
        found: Found = await asyncio.to_thread(plan.find[name])
        if before == found.version:
            logger.info("%s: version %s is already served", name, before)
            return Reloaded(name, before, before)
        service = models.new_service(name, found.load)
        await _load(service)
    except Exception as error:
        raise _failed(name, f"version {before} keeps serving", error) from None
    models.swap(service)
    # At once, so that it is loaded from here again if it dies after another one has failed.
    models.plan = replace(models.plan, find={**models.plan.find, name: plan.find[name]})
    seconds = round(time.monotonic() - began, 2)
    logger.info("%s: version %s replaces %s, loaded in %s s", name, service.version, before, seconds)
    return Reloaded(name, before, service.version, seconds)


async def _load(service: Service) -> None:
    try:
        await service.start()
        await service.until_loaded()
    except BaseException:
        await service.stop()
        raise


def _remove(models: Models, name: str) -> Reloaded:
    service = models.services.pop(name)
    before = service.version if service.state == "ready" else None
    models.retire(service)
    logger.info("%s: removed", name)
    return Reloaded(name, before, None)


def _failed(what: str, result: str, error: Exception) -> ReloadFailed:
    logger.error("reload of %s failed, %s: %s: %s", what, result, type(error).__name__, error)
    return ReloadFailed(f"{what} could not be loaded ({type(error).__name__}), {result}; the log has the reason")
