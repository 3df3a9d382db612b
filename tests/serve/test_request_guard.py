"""RequestGuard: key, host, origin and body size are checked, and disconnected clients are dropped."""

import json
import time

import pytest
from servers import HEAD, null_server, sent_raw


def waiting(server):
    lines = server.request("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("flipkd_pairs_waiting{"))


@pytest.mark.scenario("S7")
def test_request_guard_drops_items_of_a_disconnected_client(null):
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
    assert 'status="gone"' in null.request("/metrics").text
    assert null.request("/match", {"pairs": [["1", "x"]]}).status == 200


@pytest.mark.scenario("S2")
def test_too_large_body_gets_413(null):
    assert " 413 " in sent_raw(null, f"{HEAD}Content-Length: 99999999\r\n\r\n".encode())
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    assert " 413 " in sent_raw(null, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk, chunk, chunk)


@pytest.mark.scenario("S2")
def test_too_large_chunked_body_gets_413(null):
    head = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    assert " 413 " in sent_raw(null, head, *[chunk] * 18, b"0\r\n\r\n")
    asking = f"{HEAD}Content-Length: 500000\r\nExpect: 100-continue\r\n\r\n".encode()
    assert sent_raw(null, asking).startswith("HTTP/1.1 413 "), "and not 100 Continue"


@pytest.mark.scenario("S3")
def test_slow_body_gets_408(null):
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
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "http://localhost"}, 403),
        ({"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}, 200),
        ({"x_forwarded_host": "rebound.example", "x_forwarded_for": "10.0.0.1"}, 200),
    ],
)
def test_host_and_origin_of_other_sites_are_refused(null, headers, status):
    assert null.request("/info", **headers).status == status
    assert null.request("/match", {"pairs": [["1", "x"]]}, **headers).status == status


@pytest.mark.scenario("X10")
def test_every_route_except_health_and_the_page_requires_the_key():
    key = "k" * 32
    with null_server(api_key=key) as server:
        server.until_ready()
        paths = server.request("/openapi.json", authorization=f"Bearer {key}").json["paths"]
        assert len(paths) >= 14
        every = [(path, method.upper()) for path, methods in paths.items() for method in methods]
        for path, method in [
            *every,
            ("/page.json", "GET"),
            ("/openapi.json", "GET"),
            ("/nowhere", "DELETE"),
        ]:
            closed = path not in ("/health", "/healthz", "/readyz")
            for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {key}"}):
                answer = server.request(path, method=method, **given)
                assert (answer.status == 401) is closed, (path, method, answer.status)
        for near in ("Bearer", "Bearer ", f"Bearer {key[:-1]}", f"Bearer {key}k", f"Bearer {key} k", key):
            assert server.request("/info", authorization=near).status == 401, near
        for scheme in ("Bearer", "bearer"):
            assert server.request("/match", {"pairs": [["1", "x"]]}, authorization=f"{scheme} {key}").status == 200
        page = {"origin": "https://elsewhere.example", "authorization": f"Bearer {key}"}
        assert server.request("/info", **page).status == 200, "with the key any page may send requests"
        large = {"pairs": [["1", "x" * 1_500_000]]}
        assert [server.request("/match", large).status for _ in range(5)] == [401] * 5, (
            "and the connection is not reset"
        )
        unread = f"{HEAD}Content-Length: 100000\r\n\r\n{{".encode()
        assert " 401 " in sent_raw(server, unread, timeout=5), "and the connection was closed, body or not"
        assert server.request("/info", authorization=f"Bearer {key}", host="any.example").status == 200


@pytest.mark.scenario("X12")
def test_request_guard_needs_no_host_header_for_a_health_check(null):
    assert " 200 " in sent_raw(null, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert " 403 " in sent_raw(null, b"GET /info HTTP/1.0\r\n\r\n")
    assert null.request("/healthz", host="rebound.example").status == 403
