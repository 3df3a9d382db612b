"""join_server: what a worker does before it accepts connections, with a parent at the other end of a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from types import SimpleNamespace

import pytest

from flipkd.serve import workers as module
from flipkd.serve.admin import WorkerAdmin
from flipkd.serve.peers import Peer
from flipkd.serve.workers import Link, join_server


class LoadedModels:
    """Stand-in for Models: it is loaded at once, and has the state `state` then."""

    def __init__(self, state="ready") -> None:
        self.state, self.done, self.aliases = state, [], None

    async def start(self):
        self.done.append("start")

    async def until_loaded(self):
        self.done.append("until_loaded")

    def set_aliases(self, aliases):
        self.aliases = aliases


async def joined(models, *, answer=None, parent=None, ended=lambda: None):
    """Join a parent whose answer to each call is `answer`; returns the calls that it got, the app's state and the tasks."""
    ours, theirs = socket.socketpair()
    calls = []

    async def handle(name, arguments):
        calls.append((name, arguments))
        return answer

    peer = await Peer.open(ours, handle)
    receiving = asyncio.create_task(peer.run())

    async def local(name, arguments):
        return [name, arguments]

    state = SimpleNamespace(admin=SimpleNamespace(handle=local))
    app = SimpleNamespace(app=SimpleNamespace(state=state))
    tasks = await join_server(app, models, Link(0, theirs, parent or os.getppid()), parent_ended=ended)
    return SimpleNamespace(calls=calls, state=state, tasks=tasks, peer=peer, receiving=receiving)


async def end(found):
    await asyncio.sleep(0)  # a task that has not begun would leave its socket open
    for task in (*found.tasks, found.receiving):
        task.cancel()
    await asyncio.gather(*found.tasks, found.receiving, return_exceptions=True)


def test_join_server_loads_the_models_and_reports_that_it_is_ready():
    async def work():
        models = LoadedModels()
        found = await joined(models)
        assert models.done == ["start", "until_loaded"]
        assert found.calls == [("ready", {})]
        assert models.aliases is None
        await end(found)

    asyncio.run(work())


def test_join_server_takes_over_aliases_that_were_set_before():
    async def work():
        models = LoadedModels()
        found = await joined(models, answer={"live": {"b": 1.0}})
        assert models.aliases == {"live": {"b": 1.0}}
        await end(found)

    asyncio.run(work())


@pytest.mark.parametrize("state", ["failed", "draining", "loading"])
def test_join_server_reports_nothing_when_the_models_are_not_ready(state):
    async def work():
        found = await joined(LoadedModels(state))
        assert found.calls == []
        await end(found)

    asyncio.run(work())


def test_join_server_answers_the_parent_by_its_own_admin_and_asks_it_for_all_workers():
    async def work():
        found = await joined(LoadedModels(), answer={"0": {"live": {"a": 1.0}}})
        assert await found.peer.call("metrics", only=3) == ["metrics", {"only": 3}]
        assert isinstance(found.state.admin, WorkerAdmin)
        assert await found.state.admin.set_aliases({"live": "a"}) == {"live": {"a": 1.0}}
        await end(found)

    asyncio.run(work())


def test_join_server_goes_on_when_the_parent_is_gone_before_the_report(monkeypatch):
    """Its other task, which watches the parent's process, then ends the worker."""
    parent_ended = asyncio.Event()

    async def work():
        models = LoadedModels()
        ours, theirs = socket.socketpair()
        ours.close()
        app = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(admin=SimpleNamespace(handle=None))))
        tasks = await join_server(app, models, Link(0, theirs, -1), parent_ended=parent_ended.set)
        assert models.done == ["start", "until_loaded"]
        await asyncio.wait_for(parent_ended.wait(), 5)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)

    asyncio.run(work())


def test_join_server_watches_the_process_of_the_parent(monkeypatch):
    seen = []

    async def until_parent_ends(parent):
        seen.append(parent)

    monkeypatch.setattr(module, "until_parent_ends", until_parent_ends)

    async def work():
        ended = asyncio.Event()
        found = await joined(LoadedModels(), parent=123, ended=ended.set)
        await asyncio.wait_for(ended.wait(), 5)
        await end(found)

    asyncio.run(work())
    assert seen == [123]
