"""Many clients and many requests: every answer is the asker's own, everybody is served, and nothing stays behind."""

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from clients import pairs, scores, with_clients

REQUESTS, CLIENTS = 600, 40
CROWD = 1_000
RETRY = 1.0  # seconds, as Retry-After says at least
HELD = {"VmRSS": 6.0, "files": 2, "threads": 2, "tasks": 2}  # what may have been added: MB, and numbers


@pytest.mark.scenario("L6")
def test_of_many_requests_none_is_lost_doubled_or_crossed(server):
    async def ask(clients):
        numbers, right, gone = iter(range(REQUESTS)), Counter(), 0

        async def keep_asking(client):
            nonlocal gone
            for number in numbers:
                body = pairs(number * 10, size=number % 7 + 1)
                if number % 10 == 3:
                    await client.send("/match", body)
                    client.close()
                    gone += 1
                    continue
                reply = await client.ask("/match", body)
                right[number] += scores(reply) == [number * 10 + place for place in range(number % 7 + 1)]

        await asyncio.gather(*map(keep_asking, clients))
        return right, gone

    right, gone = with_clients(server, CLIENTS, ask)
    assert gone == REQUESTS // 10
    assert set(right.values()) == {1}
    assert len(right) == REQUESTS - gone


@pytest.mark.scenario("S15", "L8")
def test_a_thousand_clients_are_all_served_and_nothing_else_is_said(server):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CROWD + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))

    async def crowd(clients):
        said, served = Counter(), Counter()
        left = CROWD * 3 // 2  # times that a client is served, of all

        async def keep_asking(number):
            nonlocal left
            while left > 0:
                reply = await clients[number].ask("/match", pairs(number, size=5))
                said[reply.status] += 1
                if reply.status == 200:
                    assert scores(reply) == [number + place for place in range(5)]
                    served[number] += 1
                    left -= 1
                else:
                    await asyncio.sleep(RETRY)

        await asyncio.gather(*map(keep_asking, range(CROWD)))
        return said, served

    said, served = with_clients(server, CROWD, crowd)
    assert set(said) <= {200, 429, 503}
    assert len(served) == CROWD
    assert max(served.values()) <= 3 * min(served.values())


@pytest.mark.scenario("L8")
def test_health_is_answered_while_the_model_works(server):
    async def ask(clients):
        work = asyncio.create_task(clients[0].ask("/match", pairs(1, wait=1.0)))
        answered = 0
        while not work.done():
            assert (await clients[1].ask("/healthz")).status == 200
            answered += not work.done()
        assert (await work).status == 200
        return answered

    assert with_clients(server, 2, ask) >= 4


def held(server):
    """Memory in MB, descriptors, threads and tasks of the server."""
    place = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
    server.process.send_signal(signal.SIGUSR1)
    return {
        "VmRSS": int(status["VmRSS"].split()[0]) / 1024,
        "files": len(list((place / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "tasks": int(server.process.stdout.readline()),
    }


@pytest.mark.scenario("L7")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_requests_leave_nothing_behind(server):
    async def ask(clients, count=1_000):
        numbers = iter(range(count))

        async def keep_asking(client):
            for number in numbers:
                reply = await client.ask("/match", {"pairs": [[str(number), f"{number} " + "x" * 18_000]]})
                assert scores(reply) == [number]
                await client.ask("/embed", {"inputs": [f"{number}"]})
                if number % 10 == 0:
                    await client.send("/match", pairs(number))
                    client.close()

        await asyncio.gather(*map(keep_asking, clients))

    with_clients(server, 10, lambda clients: ask(clients, 300))
    before = held(server)
    with_clients(server, 10, ask)
    after = held(server)
    grown = {name: after[name] - before[name] for name in HELD}
    assert all(grown[name] <= HELD[name] for name in HELD), grown
