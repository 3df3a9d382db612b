"""HeaderTimeout: calls passed on to uvicorn's protocol, the timer by requests in progress, and what it expects of uvicorn."""

import asyncio
import inspect

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from flipkd.serve import header_timeout
from flipkd.serve.header_timeout import HeaderTimeout

CLIENT = ("127.0.0.1", 5000)


class Inner(asyncio.Protocol):
    """In the place of uvicorn's protocol: notes the calls that it gets."""

    def __init__(self, **wiring):
        self.calls, self.wiring = [], wiring

    def __getattribute__(self, name):
        if name in ("calls", "wiring"):
            return object.__getattribute__(self, name)
        return lambda *_: self.calls.append(name)


class Transport:
    def __init__(self, client=CLIENT):
        self.client, self.ended = client, []

    def get_extra_info(self, _):
        return self.client

    def close(self):
        self.ended.append("closed")

    def abort(self):
        self.ended.append("aborted")


async def _app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start"})
    await send({"type": "http.response.body"})


@pytest.fixture
def make(monkeypatch):
    """Make a HeaderTimeout around an app, with `Inner` as uvicorn's protocol."""
    monkeypatch.setattr(header_timeout, "H11Protocol", Inner)
    return lambda app=_app, most=10: HeaderTimeout(app, timeout=0.05, max_connections=most)


def test_header_timeout_timer_runs_between_requests_and_not_during_one(make):
    async def run():
        arrived, sent = asyncio.Event(), []

        async def receive():
            await arrived.wait()

        async def send(message):
            sent.append(message["type"])
            if message["type"] == "http.response.body":
                connection.data_received(b"GET /")  # the next request begins before the app has returned

        timed = make()
        connection, transport = timed.protocol(), Transport()
        connection.connection_made(transport)
        request = asyncio.create_task(timed({"type": "http", "client": CLIENT}, receive, send))
        await asyncio.sleep(0.1)
        assert transport.ended == [], "a request is in progress, however long it takes"
        arrived.set()
        await request
        assert sent == ["http.response.start", "http.response.body"]
        await asyncio.sleep(0.1)
        assert transport.ended == ["closed"], "the next headers did not end in time"
        connection.connection_lost(None)
        assert timed.connections == {}

    asyncio.run(run())


def test_connections_beyond_the_bound_are_aborted(make):
    async def run():
        timed = make(most=1)
        transports = [Transport(("127.0.0.1", port)) for port in range(1 + header_timeout.ACCEPTED_AT_ONCE + 1)]
        for transport in transports:
            timed.protocol().connection_made(transport)
        assert [transport.ended for transport in transports] == [[]] * (len(transports) - 1) + [["aborted"]]

    asyncio.run(run())


def test_every_call_of_asyncio_reaches_the_protocol_of_uvicorn(make):
    names = [name for name in dir(asyncio.Protocol) if not name.startswith("_")]
    arguments = {"connection_made": [Transport()], "data_received": [b"x"], "connection_lost": [None]}

    async def run():
        connection = make().protocol(config="c", app_state={})
        for name in sorted(names, key="connection_lost".__eq__):
            getattr(connection, name)(*arguments.get(name, []))
        assert sorted(connection._inner.calls) == sorted(names)
        assert connection._inner.wiring == {"config": "c", "app_state": {}}

    asyncio.run(run())


def test_uvicorn_still_has_the_protocol_and_no_header_timeout_of_its_own():
    """When this fails uvicorn has changed: look whether the module is still needed."""
    settings = inspect.signature(uvicorn.Config).parameters
    assert not [name for name in settings if "timeout" in name and ("header" in name or "request" in name)]
    assert issubclass(H11Protocol, asyncio.Protocol)
    own = {name for name in vars(H11Protocol) if name.endswith(("_made", "_received", "_writing", "_lost"))}
    assert own <= set(dir(asyncio.Protocol)), "and is called through asyncio's methods only"
