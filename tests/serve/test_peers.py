"""Peers: calls in both directions, errors by their class, and the end of the other process."""

import asyncio
import socket

import pytest

from flipkd.errors import UsageError
from flipkd.serve.peers import Peer, PeerGone
from flipkd.serve.reload import ReloadRunning


async def connected(handle):
    left, right = socket.socketpair()
    peers = [await Peer.open(left, handle), await Peer.open(right, handle)]
    return peers, [asyncio.create_task(peer.run()) for peer in peers]


async def handle(name, arguments):
    if name == "wait":
        await asyncio.sleep(arguments["seconds"])
    if name == "refuse":
        raise {"UsageError": UsageError, "ReloadRunning": ReloadRunning, "KeyError": KeyError}[arguments["error"]](
            "why"
        )
    return arguments


def test_peer_calls_run_side_by_side_in_both_directions():
    async def work():
        (left, right), _ = await connected(handle)
        slow = asyncio.create_task(left.call("wait", seconds=0.2))
        found = await asyncio.gather(*(peer.call("echo", number=n) for n in range(20) for peer in (left, right)))
        assert found == [{"number": n} for n in range(20) for _ in range(2)]
        assert not slow.done()
        assert await slow == {"seconds": 0.2}
        assert await left.call("echo", text="x" * 200_000) == {"text": "x" * 200_000}

    asyncio.run(work())


@pytest.mark.parametrize(
    ("error", "expected"), [("UsageError", UsageError), ("ReloadRunning", ReloadRunning), ("KeyError", RuntimeError)]
)
def test_peer_call_raises_an_error_by_its_class_and_text(error, expected):
    async def work():
        (left, _), _ = await connected(handle)
        with pytest.raises(expected, match="why"):
            await left.call("refuse", error=error)

    asyncio.run(work())


def test_peer_calls_end_when_the_other_process_ends():
    async def work():
        (left, _), (_, running) = await connected(handle)
        call = asyncio.create_task(left.call("wait", seconds=60))
        await asyncio.sleep(0.05)
        running.cancel()
        for _ in range(2):
            with pytest.raises(PeerGone):
                await asyncio.wait_for(call if not call.done() else left.call("echo"), 5)

    asyncio.run(work())
