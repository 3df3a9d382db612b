"""Routes of /admin: who may use them, and aliases."""

import json

import pytest
from served_versions import BEARER, server_of

PAIR = {"pairs": [["1", "x"]]}


@pytest.mark.scenario("X10")
@pytest.mark.parametrize("path", ["/admin/reload", "/admin/aliases", "/admin", "/admin/anything"])
def test_admin_routes_may_be_used_by_nobody_without_a_key(null, path):
    refused = null.request(path, {})
    assert refused.status == 403
    assert "--api_key_file" in refused.json["detail"]


def test_aliases_are_swapped_by_a_request(tmp_path):
    with server_of(tmp_path, "a", "b", aliases={"live": "a", "old": "a"}) as server:
        assert server.request("/match", PAIR | {"model": "live"}, **BEARER).headers["x-model"] == "a"
        reply = server.request("/admin/aliases", {"aliases": {"live": "b", "old": None}}, **BEARER)
        assert reply.json == {"aliases": {"live": {"b": 1.0}}}
        assert server.request("/match", PAIR, **BEARER).headers["x-model"] == "b", "the first alias is the default"
        for wrong in ({"live": "c"}, {"live": {"a": -1}}, {"live": {}}, {"a": "b"}, {"live": {"a": 0}}):
            assert server.request("/admin/aliases", {"aliases": wrong}, **BEARER).status == 422, wrong
        assert server.request("/admin/aliases", **BEARER).json == {"aliases": {"live": {"b": 1.0}}}


def test_aliases_body_of_many_aliases_is_counted_before_it_is_validated(tmp_path):
    with server_of(tmp_path, "a") as server:
        for wrong in (
            {f"n{k}": {} for k in range(3000)},
            {"n": {f"n{k}": "x" for k in range(3000)}},
            {"n" * 300: "a"},
        ):
            reply = server.request("/admin/aliases", {"aliases": wrong}, **BEARER)
            assert reply.status == 422
            assert len(json.dumps(reply.json)) < 2000
        assert server.request("/admin/aliases", **BEARER).json == {"aliases": {}}
