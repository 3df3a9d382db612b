"""Access: several keys with limits, and limits by address behind a proxy."""

import pytest
from servers import null_server

from flipkd.serve.access import Access
from flipkd.serve.addresses import read_networks
from flipkd.serve.keys import Key, Keys

SHOP, OPS = "s" * 16, "o" * 16
KEYS = Keys([Key("shop", SHOP, per_minute=3), Key("ops", OPS, admin=True)])


def refused(access, path="/match", *, key=None, peer="198.51.100.7", forwarded=""):
    headers = {} if key is None else {"authorization": f"Bearer {key}".encode()}
    headers |= {"x-forwarded-for": forwarded.encode()} if forwarded else {}
    response = access.refusal({"path": path, "client": (peer, 1)}, headers)
    return None if response is None else (response.status_code, response.headers.get("retry-after"))


@pytest.mark.scenario("X10")
def test_each_key_has_its_own_limit_and_only_the_marked_one_is_admin():
    access = Access(KEYS)
    assert refused(access)[0] == 401
    assert refused(access, key="x" * 16)[0] == 401
    assert [refused(access, key=SHOP) for _ in range(3)] == [None] * 3
    status, wait = refused(access, key=SHOP)
    assert status == 429
    assert 59 <= int(wait) <= 60
    assert [refused(access, key=OPS) for _ in range(10)] == [None] * 10
    assert refused(access, "/admin/reload", key=SHOP)[0] == 403
    assert refused(access, "/admin/reload", key=OPS) is None
    assert refused(access, "/admin/reload")[0] == 401


@pytest.mark.scenario("X12")
def test_the_limit_of_an_address_cannot_be_evaded_by_a_header():
    access = Access(trusted_proxies=read_networks(["10.0.0.0/8"]), per_minute=2)
    assert [refused(access, forwarded=f"203.0.113.{number}") for number in range(2)] == [None] * 2
    assert refused(access, forwarded="203.0.113.9")[0] == 429, "not from our proxy"
    assert [refused(access, peer="10.0.0.1", forwarded="203.0.113.1") for _ in range(2)] == [None] * 2
    assert refused(access, peer="10.0.0.1", forwarded="203.0.113.1")[0] == 429
    assert refused(access, peer="10.0.0.1", forwarded="203.0.113.2") is None


def test_access_answers_requests_beyond_the_limit_with_429_and_does_not_count_health_checks():
    with null_server(keys=[{"name": "shop", "secret": SHOP, "per_minute": 3}]) as server:
        server.until_ready()
        bearer = {"authorization": f"Bearer {SHOP}"}
        found = [server.request("/match", {"pairs": [["1", "x"]]}, **bearer) for _ in range(5)]
        assert [reply.status for reply in found] == [200, 200, 200, 429, 429]
        assert "this API key may send 3 requests per minute" in found[-1].json["detail"]
        assert 1 <= int(found[-1].headers["retry-after"]) <= 60
        assert server.request("/readyz").status == 200
