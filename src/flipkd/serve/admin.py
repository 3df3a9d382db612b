"""Admin: what /admin and /metrics do, in a server of one process or in all workers of a server.

Arguments and results are values of JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flipkd.serve.metrics import Metrics, labelled_by_worker
from flipkd.serve.models import Models
from flipkd.serve.peers import Peer
from flipkd.serve.reload import reload


class LocalAdmin:
    """Admin of one process."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models, self._metrics = models, metrics

    async def reload(self, only: str | None) -> list[dict[str, Any]]:
        """Reload the matchers, or one; see `reload.reload`."""
        # A client that hangs up must not stop a reload halfway.
        found = await asyncio.shield(asyncio.create_task(reload(self._models, only=only)))
        return [asdict(row) for row in found]

    async def set_aliases(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Set aliases, remove those that are None, and return all."""
        merged: dict[str, Any] = {**self._models.aliases, **changes}
        self._models.set_aliases({name: target for name, target in merged.items() if target is not None})
        return self._models.aliases

    async def metrics(self) -> bytes:
        """Return the metrics of this process in the text format of Prometheus."""
        return self._metrics.text()

    async def handle(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a call of the parent process."""
        if name == "reload":
            return await self.reload(arguments["only"])
        if name == "set_aliases":
            return await self.set_aliases(arguments["changes"])
        if name == "aliases":
            return self._models.aliases
        return self._metrics.text().decode()


class WorkerAdmin:
    """Admin of one of several workers: the parent process makes the call in each of them."""

    def __init__(self, parent: Peer) -> None:
        self._parent = parent

    async def reload(self, only: str | None) -> list[dict[str, Any]]:
        """Reload the matchers, or one, in one worker after another; stops at the first that fails."""
        found: dict[str, list[dict[str, Any]]] = await self._parent.call("reload", only=only)
        return [{"worker": int(worker)} | row for worker, rows in found.items() for row in rows]

    async def set_aliases(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Set aliases, remove those that are None, and return all."""
        found: dict[str, dict[str, Any]] = await self._parent.call("set_aliases", changes=dict(changes))
        return next(iter(found.values()))

    async def metrics(self) -> bytes:
        """Return the metrics of all workers, each with the label `worker`."""
        return labelled_by_worker(await self._parent.call("metrics"))


Admin = LocalAdmin | WorkerAdmin
