"""Who is let in, how much at a time, and what becomes of those who hang up."""

import json
import time

import pytest
from servers import HEAD, null_server, sent_raw


def waiting(server):
    lines = server.ask("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("flipkd_pairs_waiting "))


@pytest.mark.scenario("S7")
def test_who_hangs_up_is_forgotten(null):
    for _ in range(3):
        connection = null.connect()
        connection.request(
            "POST", "/match", json.dumps({"pairs": [["slow", "x"]] * 20}), {"content-type": "application/json"}
        )
        time.sleep(0.1)
        connection.close()
    deadline = time.monotonic() + 5
    while waiting(null):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert 'status="gone"' in null.ask("/metrics").text
    assert null.ask("/match", {"pairs": [["1", "x"]]}).status == 200


@pytest.mark.scenario("S2")
def test_a_body_without_end_is_cut_off(null):
    assert " 413 " in sent_raw(null, f"{HEAD}Content-Length: 99999999\r\n\r\n".encode())
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    assert " 413 " in sent_raw(null, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk, chunk, chunk)


@pytest.mark.scenario("S2")
def test_who_sends_too_much_in_pieces_reads_so(null):
    head = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    assert " 413 " in sent_raw(null, head, *[chunk] * 18, b"0\r\n\r\n")
    asking = f"{HEAD}Content-Length: 500000\r\nExpect: 100-continue\r\n\r\n".encode()
    assert sent_raw(null, asking).startswith("HTTP/1.1 413 "), "and is not told to go on"


@pytest.mark.scenario("S3")
def test_a_body_that_comes_slowly_is_not_waited_for(null):
    assert " 408 " in sent_raw(null, f"{HEAD}Content-Length: 100\r\n\r\n".encode(), b"{", pause=0.1)


@pytest.mark.scenario("X12")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:1234"}, 200),
        ({"host": "127.0.0.2"}, 200),
        ({"host": "rebound.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"x_forwarded_host": "rebound.example", "x_forwarded_for": "10.0.0.1"}, 200),
    ],
)
def test_a_page_of_somebody_else_cannot_use_it(null, headers, status):
    assert null.ask("/info", **headers).status == status
    assert null.ask("/match", {"pairs": [["1", "x"]]}, **headers).status == status


@pytest.mark.scenario("X10")
def test_every_route_but_health_asks_for_the_key():
    key = "k" * 32
    with null_server(api_key=key) as server:
        server.until_ready()
        paths = server.ask("/openapi.json", authorization=f"Bearer {key}").json["paths"]
        assert len(paths) >= 14
        every = [(path, method.upper()) for path, methods in paths.items() for method in methods]
        for path, method in [
            *every,
            ("/", "GET"),
            ("/page.js", "GET"),
            ("/openapi.json", "GET"),
            ("/nowhere", "DELETE"),
        ]:
            closed = path not in ("/health", "/healthz", "/readyz")
            for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {key}"}):
                answer = server.ask(path, method=method, **given)
                assert (answer.status == 401) is closed, (path, method, answer.status)
        for scheme in ("Bearer", "bearer"):
            assert server.ask("/match", {"pairs": [["1", "x"]]}, authorization=f"{scheme} {key}").status == 200
        page = {"origin": "https://elsewhere.example", "authorization": f"Bearer {key}"}
        assert server.ask("/info", **page).status == 200, "who has the key may ask from any page"
        large = {"pairs": [["1", "x" * 1_500_000]]}
        assert [server.ask("/match", large).status for _ in range(5)] == [401] * 5, "and not a broken pipe"
        unread = f"{HEAD}Content-Length: 100000\r\n\r\n{{".encode()
        assert " 401 " in sent_raw(server, unread, timeout=5), "and the connection was closed, body or not"
        assert server.ask("/info", authorization=f"Bearer {key}", host="any.example").status == 200


def test_a_health_check_without_a_host_is_answered(null):
    assert " 200 " in sent_raw(null, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert " 403 " in sent_raw(null, b"GET /info HTTP/1.0\r\n\r\n")
