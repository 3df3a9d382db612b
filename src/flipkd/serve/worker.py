"""One of several workers: its connection to the parent, and what it does before it accepts connections."""

from __future__ import annotations

import asyncio
import contextlib
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
    """Connect to the parent, load the models and report that they are ready. Returns tasks to cancel at the end.

    Not ready afterwards: a model could not be loaded, or the server shuts down.
    """
    state = app.app.state  # type: ignore[attr-defined]  # of FastAPI
    local: LocalAdmin = state.admin
    parent = await Peer.open(link.sock, local.handle)
    state.admin = WorkerAdmin(parent)

    async def watch_parent() -> None:
        """Shut down when the parent is gone."""
        await until_parent_ends(link.parent)
        parent_ended()

    tasks = [asyncio.create_task(work) for work in (parent.run(), watch_parent())]
    await models.start()
    await models.until_loaded()
    if models.state == "ready":
        with contextlib.suppress(PeerGone):
            if aliases := await parent.call("ready"):  # set by a request before this worker was there
                models.set_aliases(aliases)
    return tasks
