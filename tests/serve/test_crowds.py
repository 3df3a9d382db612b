"""Many clients and requests: each gets its own response, all are served, and no resource leaks."""

import asyncio
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from clients import pairs, scores, with_clients

REQUESTS, CLIENTS = 600, 40
CROWD = 1_000
RETRY = 1.0  # seconds; Retry-After is at least that
ALLOWED_GROWTH = {"VmRSS": 6.0, "files": 2, "threads": 2, "tasks": 2}  # MB, and numbers


@pytest.mark.scenario("L6")
def test_server_gives_each_of_many_requests_its_own_response_once(server):
    async def send_requests(clients):
        numbers, correct, disconnected = iter(range(REQUESTS)), Counter(), 0

        async def keep_sending(client):
            nonlocal disconnected
            for number in numbers:
                body = pairs(number * 10, size=number % 7 + 1)
                if number % 10 == 3:
                    await client.send("/match", body)
                    client.close()
                    disconnected += 1
                    continue
                reply = await client.request("/match", body)
                correct[number] += scores(reply) == [number * 10 + place for place in range(number % 7 + 1)]

        await asyncio.gather(*map(keep_sending, clients))
        return correct, disconnected

    correct, disconnected = with_clients(server, CLIENTS, send_requests)
    assert disconnected == REQUESTS // 10
    assert set(correct.values()) == {1}
    assert len(correct) == REQUESTS - disconnected


@pytest.mark.scenario("S15", "L8")
def test_server_answers_a_thousand_clients_all_with_documented_codes(server):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CROWD + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))

    async def crowd(clients):
        statuses, served = Counter(), Counter()
        left = CROWD * 3 // 2  # responses until the test ends

        async def keep_sending(number):
            nonlocal left
            while left > 0 or not served[number]:
                reply = await clients[number].request("/match", pairs(number, size=5))
                statuses[reply.status] += 1
                if reply.status == 200:
                    assert scores(reply) == [number + place for place in range(5)]
                    served[number] += 1
                    left -= 1
                else:
                    await asyncio.sleep(RETRY)

        await asyncio.gather(*map(keep_sending, range(CROWD)))
        return statuses, served

    statuses, served = with_clients(server, CROWD, crowd)
    assert set(statuses) <= {200, 429, 503}
    assert len(served) == CROWD
    assert max(served.values()) <= 3 * min(served.values())


@pytest.mark.scenario("L8")
def test_healthz_responds_while_the_model_works(server):
    async def send_requests(clients):
        work = asyncio.create_task(clients[0].request("/match", pairs(1, wait=1.0)))
        answered = 0
        while not work.done():
            assert (await clients[1].request("/healthz")).status == 200
            answered += not work.done()
        assert (await work).status == 200
        return answered

    assert with_clients(server, 2, send_requests) >= 4


def resources_of(server):
    """Measure memory in MB, descriptors, threads and tasks of the server."""
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
def test_server_leaks_no_memory_files_threads_or_tasks_in_a_thousand_requests(server):
    async def send_requests(clients, count=1_000):
        numbers = iter(range(count))

        async def keep_sending(client):
            for number in numbers:
                reply = await client.request("/match", {"pairs": [[str(number), f"{number} " + "x" * 18_000]]})
                assert scores(reply) == [number]
                await client.request("/embed", {"inputs": [f"{number}"]})
                if number % 10 == 0:
                    await client.send("/match", pairs(number))
                    client.close()

        await asyncio.gather(*map(keep_sending, clients))

    with_clients(server, 10, lambda clients: send_requests(clients, 300))
    before = resources_of(server)
    with_clients(server, 10, send_requests)
    for _ in range(20):  # a busy machine closes the last connections late
        after = resources_of(server)
        growth = {name: after[name] - before[name] for name in ALLOWED_GROWTH}
        if all(growth[name] <= ALLOWED_GROWTH[name] for name in ALLOWED_GROWTH):
            break
        time.sleep(0.5)
    assert all(growth[name] <= ALLOWED_GROWTH[name] for name in ALLOWED_GROWTH), growth
