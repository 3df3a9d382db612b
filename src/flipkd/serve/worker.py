"""One of several workers: its connection to the parent, and what it does before it listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from flipkd.serve.admin import LocalAdmin, WorkerAdmin
from flipkd.serve.models import Models
from flipkd.serve.peers import Peer, PeerGone
from flipkd.serve.request_guard import RequestGuard
from flipkd.serve.workers import Link, until_parent_ends


async def join_server(
    app: RequestGuard, models: Models, link: Link, *, parent_ended: Callable[[], None]
) -> list[asyncio.Task[Any]]:
    """Connect to the parent, and load the models first where `link` wants that. Returns tasks to cancel at the end."""
    state = app.app.state  # type: ignore[attr-defined]  # of FastAPI
    local: LocalAdmin = state.admin
    parent = await Peer.open(link.sock, local.handle)
    state.admin = WorkerAdmin(parent)

    async def report_ready() -> None:
        """Tell the parent that this worker answers; take over the aliases that were set before."""
        await models.until_loaded()
        if models.state != "ready":
            return
        try:
            if aliases := await parent.call("ready"):
                models.set_aliases(aliases)
        except PeerGone:
            pass

    async def watch_parent() -> None:
        """Shut down when the parent is gone."""
        await until_parent_ends(link.parent)
        parent_ended()

    tasks = [asyncio.create_task(work) for work in (parent.run(), watch_parent())]
    await models.start()
    ready = asyncio.create_task(report_ready())
    if link.loads_first:
        await ready
    return [*tasks, ready]
