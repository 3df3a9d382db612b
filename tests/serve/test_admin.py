"""Admin: what /admin and /metrics do in one process, in each worker, and for all workers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from flipkd.errors import UsageError
from flipkd.serve import admin as module
from flipkd.serve.admin import LocalAdmin, WorkerAdmin
from flipkd.serve.limits import Limits
from flipkd.serve.models import Found, Models, Plan
from flipkd.serve.reload import Reloaded

TEXT = '# TYPE answers_total counter\nanswers_total{status="200"} %d.0\n'


@pytest.fixture
def models():
    """Matchers a and b under two aliases; none is loaded."""
    aliases = {"live": "a", "old": {"a": 1, "b": 3}}
    return Models(lambda: Plan(dict.fromkeys("ab", lambda: Found("1", None)), aliases), limits=Limits())


@pytest.fixture
def local(models):
    return LocalAdmin(models, SimpleNamespace(text=lambda: b"the metrics"))


def test_local_admin_sets_aliases_and_removes_those_that_are_none(local, models):
    found = asyncio.run(local.set_aliases({"live": "b", "old": None, "new": {"a": 1}, "gone": None}))
    assert found == models.aliases == {"live": {"b": 1.0}, "new": {"a": 1.0}}


def test_local_admin_changes_no_alias_when_one_is_wrong(local, models):
    before = dict(models.aliases)
    with pytest.raises(UsageError, match="no matcher is called 'c'"):
        asyncio.run(local.set_aliases({"live": "b", "new": "c"}))
    assert models.aliases == before


def test_local_admin_handles_each_call_of_the_parent(local, models, monkeypatch):
    async def reload(found, *, only):
        assert found is models
        return [Reloaded(model=only or "all", before="1", after="2", seconds=0.5)]

    monkeypatch.setattr(module, "reload", reload)

    async def calls():
        for only, name in (("a", "a"), (None, "all")):
            [row] = await local.handle("reload", {"only": only})
            assert row == {"model": name, "before": "1", "after": "2", "seconds": 0.5}
        assert await local.handle("set_aliases", {"changes": {"old": None}}) == {"live": {"a": 1.0}}
        assert await local.handle("aliases", {}) == {"live": {"a": 1.0}}
        assert await local.handle("metrics", {}) == "the metrics"
        assert await local.metrics() == b"the metrics"

    asyncio.run(calls())


def test_local_admin_finishes_a_reload_whose_client_hangs_up(local, monkeypatch):
    done, begun, end = [], asyncio.Event(), asyncio.Event()

    async def reload(found, *, only):
        begun.set()
        await end.wait()
        done.append(only)
        return []

    monkeypatch.setattr(module, "reload", reload)

    async def hang_up():
        request = asyncio.create_task(local.reload("a"))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert done == []
        end.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=10)

    asyncio.run(hang_up())
    assert done == ["a"]


class Parent:
    """Stand-in for the parent process: the results of all workers, by call."""

    def __init__(self, **found) -> None:
        self.found, self.calls = found, []

    async def call(self, name, **arguments):
        self.calls.append((name, arguments))
        return self.found[name]


def test_worker_admin_reloads_in_all_workers_and_names_the_worker_of_each_row():
    parent = Parent(reload={"0": [{"model": "a"}, {"model": "b"}], "1": [{"model": "a"}]})
    assert asyncio.run(WorkerAdmin(parent).reload("a")) == [
        {"worker": 0, "model": "a"},
        {"worker": 0, "model": "b"},
        {"worker": 1, "model": "a"},
    ]
    assert parent.calls == [("reload", {"only": "a"})]


def test_worker_admin_sets_aliases_in_all_workers_and_returns_those_of_one():
    parent = Parent(set_aliases={"0": {"live": {"a": 1.0}}, "1": {"live": {"a": 1.0}}})
    assert asyncio.run(WorkerAdmin(parent).set_aliases({"live": "a"})) == {"live": {"a": 1.0}}
    assert parent.calls == [("set_aliases", {"changes": {"live": "a"}})]


def test_worker_admin_merges_the_metrics_of_all_workers():
    text = asyncio.run(WorkerAdmin(Parent(metrics={"0": TEXT % 3, "1": TEXT % 4})).metrics()).decode()
    assert 'answers_total{status="200",worker="0"} 3.0\n' in text
    assert 'answers_total{status="200",worker="1"} 4.0\n' in text
    assert text.count("# TYPE answers_total counter") == 1
