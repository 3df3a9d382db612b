"""CORS: the pages of --cors_origins may use the server, preflight needs no key, and errors carry the headers too."""

import pytest
from servers import HEAD, null_server, sent_raw

from flipkd.errors import RefusedError, UsageError
from flipkd.serve.access import Access
from flipkd.serve.cors import check_origins
from flipkd.serve.server import check_exposure

KEY = "k" * 32
SHOP, OTHER = "https://shop.example", "https://other.example:8443"
PREFLIGHT = {
    "access_control_request_method": "POST",
    "access_control_request_headers": "authorization,content-type,x-stainless-lang",
}
BODY = {"pairs": [["1", "x"]]}
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def shop():
    """Start a server with a key and two origins."""
    limits = {"max_items": 50, "max_queue": 50, "max_body_bytes": 20_000, "timeout": 1.0, "body_timeout": 0.5}
    with null_server(api_key=KEY, cors_origins=[SHOP, OTHER], **limits) as server:
        yield server.until_ready()


def test_cors_preflight_of_an_allowed_origin_needs_no_key(shop):
    for path in ("/match", "/v1/embeddings", "/info"):
        for origin in (SHOP, OTHER):
            answer = shop.request(path, method="OPTIONS", origin=origin, **PREFLIGHT)
            assert answer.status == 200
            assert answer.headers[ALLOWED] == origin
            assert answer.headers["access-control-allow-headers"] == PREFLIGHT["access_control_request_headers"]
            methods = answer.headers["access-control-allow-methods"]
            assert set(methods.split(", ")) == {"GET", "HEAD", "POST", "PUT", "DELETE"}
            assert "access-control-allow-credentials" not in answer.headers
            assert "Origin" in answer.headers["vary"]
    assert shop.request("/match", method="OPTIONS", origin=SHOP).status == 401, "no preflight request"
    assert shop.request("/info", origin=SHOP, **PREFLIGHT).status == 401, "and neither is a GET"


@pytest.mark.parametrize(
    "origin", ["https://elsewhere.example", "null", SHOP + ".evil.example", "http://shop.example"]
)
def test_other_origins_get_no_permission(shop, origin):
    answer = shop.request("/match", method="OPTIONS", origin=origin, **PREFLIGHT)
    assert (answer.status, answer.headers.get(ALLOWED)) == (400, None)
    answer = shop.request("/match", BODY, origin=origin, authorization=f"Bearer {KEY}")
    assert (answer.status, answer.headers.get(ALLOWED)) == (200, None), "the browser keeps the answer from the page"
    assert answer.headers["vary"] == "Origin"


def _too_slow(server, headers):
    head = HEAD + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return sent_raw(server, f"{head}Content-Length: 100\r\n\r\n".encode(), b"{", pause=0.1)


def test_answers_and_errors_carry_the_headers(shop):
    key = {"authorization": f"Bearer {KEY}", "origin": SHOP}
    found = {
        200: shop.request("/match", BODY, **key),
        401: shop.request("/match", BODY, origin=SHOP),
        404: shop.request("/nowhere", **key),
        413: shop.request("/match", {"pairs": [["1", "x" * 30_000]]}, **key),
        422: shop.request("/match", {}, **key),
        500: shop.request("/match", {"pairs": [["boom", "x"]]}, **key),
        504: shop.request("/match", {"pairs": [["1", "wait 1.5"]]}, **key),
    }
    assert {status: answer.status for status, answer in found.items()} == {status: status for status in found}
    for answer in found.values():
        assert answer.headers[ALLOWED] == SHOP
        assert (
            answer.headers["access-control-expose-headers"]
            == "Retry-After, X-Ignored-Fields, X-Answer-Id, X-Model, X-Model-Version"
        )
    slow = _too_slow(shop, key).lower()
    assert " 408 " in slow
    assert f"{ALLOWED}: {SHOP}" in slow


def test_cors_headers_are_in_loading_and_overloaded_responses_and_host_is_checked():
    with null_server(cors_origins=[SHOP], max_items=4, max_queue=4, loading=1, batch_size=1) as server:
        loading = server.request("/match", BODY, origin=SHOP)
        assert (loading.status, loading.headers[ALLOWED]) == (503, SHOP)
        server.until_ready()
        assert server.request("/match", BODY, origin=SHOP).headers[ALLOWED] == SHOP
        assert server.request("/match", BODY, origin=OTHER).status == 403
        rebound = server.request("/match", BODY, origin=SHOP, host="rebound.example")
        assert (rebound.status, rebound.headers[ALLOWED]) == (403, SHOP), "also without a key"
        waiting = [server.connect() for _ in range(3)]
        for connection in waiting:
            body = '{"pairs": [["slow", "x"], ["slow", "x"]]}'
            connection.request("POST", "/match", body, {"content-type": "application/json"})
        full = server.request("/match", {"pairs": [["1", "x"]] * 4}, origin=SHOP)
        assert (full.status, full.headers[ALLOWED]) == (429, SHOP)
        for connection in waiting:
            connection.close()


def test_cors_needs_no_key_only_for_a_preflight(shop):
    assert shop.request("/match", method="OPTIONS", origin=SHOP).status == 401, "OPTIONS alone is no preflight"
    assert shop.request("/info", origin=SHOP, **PREFLIGHT).status == 401, "nor is another method"


def test_any_origin_without_credentials():
    with null_server(api_key=KEY, cors_origins=["*"]) as server:
        server.until_ready()
        for answer in (
            server.request("/match", method="OPTIONS", origin="null", **PREFLIGHT),
            server.request("/match", BODY, origin=SHOP, authorization=f"Bearer {KEY}"),
            server.request("/match", BODY, origin=SHOP),
        ):
            assert answer.headers[ALLOWED] == "*"
            assert "access-control-allow-credentials" not in answer.headers


def test_cors_allows_no_origin_by_default(null):
    assert null.request("/match", method="OPTIONS", origin=SHOP, **PREFLIGHT).status == 403
    assert ALLOWED not in null.request("/info").headers


@pytest.mark.parametrize(
    "origin",
    ["shop.example", "https://shop.example/", "https://", "HTTPS://Shop.example", "https://a@shop.example", "null"]
    + ["https://shop.example:443", "http://shop.example:80", "https://shop.example:port", "https://[::1", ""],
)
def test_check_origins_refuses_what_no_browser_sends(origin):
    with pytest.raises(UsageError, match="is not an origin"):
        check_origins([SHOP, origin])


def test_check_origins_accepts_origins():
    check_origins([SHOP, OTHER, "http://localhost:3000", "http://[::1]:3000", "chrome-extension://abcdef", "*"])


def test_cors_refuses_any_origin_without_a_key():
    with pytest.raises(RefusedError, match="--api_key_file, name the origins, or give --insecure"):
        check_exposure("127.0.0.1", access=Access(), insecure=False, cors_origins=["*"])
