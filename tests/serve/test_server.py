"""Server process: slow clients, and shutdown."""

import asyncio
import json
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import pairs, scores, with_clients
from servers import HEAD, null_server, sent_raw

from flipkd.errors import ResourceError
from flipkd.serve.server import bound


@pytest.mark.scenario("S3")
def test_server_disconnects_slow_clients_without_delay_for_others(null):
    with ThreadPoolExecutor(2) as threads:
        headers = threads.submit(sent_raw, null, b"POST /match HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        body = threads.submit(sent_raw, null, f"{HEAD}Content-Length: 100\r\n\r\n".encode(), b"{", pause=0.1)
        began = time.monotonic()
        assert null.request("/match", {"pairs": [["1", "x"]]}).status == 200
        assert time.monotonic() - began < 0.4
        assert headers.result() == ""
        assert " 408 " in body.result()


@pytest.mark.scenario("S3")
def test_server_closes_a_reused_connection_with_incomplete_headers(null):
    with socket.create_connection(null.address, timeout=5) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):  # its head and its body may come apart
            answer += raw.recv(65536)
        assert b" 200 " in answer
        raw.sendall(b"GET /healthz HTTP/1.1\r\n")
        began = time.monotonic()
        assert raw.recv(65536) == b""
        assert time.monotonic() - began < 3


@pytest.mark.scenario("S14")
def test_bound_never_shares_a_port_between_two_servers():
    with bound("127.0.0.1", 0) as first:
        second = bound("127.0.0.1", first.getsockname()[1])
        with pytest.raises(ResourceError, match="choose another --port"):
            second.__enter__()


@pytest.mark.scenario("S9")
def test_server_shutdown_finishes_an_accepted_search():
    with null_server(batch_size=1) as server:
        server.until_ready()
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(server.request, "/match", {"pairs": [["slow", "x"]] * 3})
            time.sleep(0.2)
            search = threads.submit(server.request, "/search", {"query": "12"})
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            assert (first.result().status, search.result().status) == (200, 200)
        assert server.process.wait(10) == 0


@pytest.mark.scenario("S9", "L11")
def test_server_shutdown_at_saturation_finishes_every_accepted_request():
    async def saturate(clients):
        async def keep_sending(client, number):
            nonlocal sent
            while True:
                sent += 1
                answered.append((await client.request("/match", pairs(number, wait=0.2)), number))
                if answered[-1][0].status != 200:
                    return

        senders = [asyncio.create_task(keep_sending(client, number)) for number, client in enumerate(clients)]
        while len(answered) < 40:
            await asyncio.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        before = len(answered)
        await asyncio.sleep(0.3)
        ready = await asyncio.to_thread(server.request, "/readyz")
        await asyncio.gather(*senders)
        return ready, before

    answered, sent = [], 0
    with null_server(batch_size=8) as server:
        server.until_ready()
        ready, before = with_clients(server, 100, saturate)
        assert server.process.wait(10) == 0
        said = server.process.stderr.read()
    assert ready.status == 503
    assert len(answered) == sent, "no connection was cut off"
    good = [(scores(reply), number) for reply, number in answered if reply.status == 200]
    assert all(found == [number] for found, number in good)
    assert {reply.status for reply, _ in answered} == {200, 503}
    accepted = int(re.search(r"(\d+) requests are in progress", said)[1])
    assert accepted > 50
    assert len(good) >= max(before, accepted)


@pytest.mark.scenario("S9")
def test_server_exits_at_once_on_a_second_signal():
    with null_server(batch_size=1, grace=60) as server:
        server.until_ready()
        stuck = threading.Thread(target=lambda: sent_raw(server, _long_request()), daemon=True)
        stuck.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 1.5


@pytest.mark.scenario("S9")
@pytest.mark.parametrize("state", ["loading", "one long pass"])
def test_server_shutdown_does_not_wait_for_an_abandoned_model_call(state):
    with null_server(batch_size=64, loading=8 if state == "loading" else 0, grace=0.5) as server:
        if state != "loading":
            server.until_ready()
            body = json.dumps({"pairs": [["slow", "x"]] * 20})
            stuck = f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode()
            threading.Thread(target=lambda: sent_raw(server, stuck), daemon=True).start()
        time.sleep(0.5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 4


def _long_request():
    body = json.dumps({"pairs": [["slow", "x"]] * 40})
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode()
