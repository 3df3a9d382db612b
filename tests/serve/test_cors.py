"""CORS: pages of other sites may use the server with a key, and not without one."""

from servers import null_server

KEY = "k" * 32
PREFLIGHT = {
    "origin": "https://shop.example",
    "access_control_request_method": "POST",
    "access_control_request_headers": "authorization,content-type",
}


def test_cors_with_a_key_allows_any_page():
    with null_server(api_key=KEY) as server:
        server.until_ready()
        for path in ("/match", "/v1/embeddings", "/info"):
            preflight_response = server.request(path, method="OPTIONS", **PREFLIGHT)
            assert (preflight_response.status, preflight_response.text) == (204, "")
            assert preflight_response.headers["access-control-allow-origin"] == "*"
            assert preflight_response.headers["access-control-allow-headers"] == "authorization,content-type"
            assert "POST" in preflight_response.headers["access-control-allow-methods"]
        invalid = server.request(
            "/match", method="OPTIONS", **PREFLIGHT | {"access_control_request_headers": "a\x01b"}
        )
        assert invalid.headers.get("access-control-allow-headers", "") != "a\x01b"
        body, page = {"pairs": [["1", "x"]]}, {"origin": "https://shop.example"}
        for status, given in ((200, {"authorization": f"Bearer {KEY}"}), (401, {})):
            answer = server.request("/match", body, **page, **given)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "*")
        assert server.request("/match", method="OPTIONS").status == 401, (
            "OPTIONS without the headers of a preflight needs the key"
        )
        assert server.request("/info", **PREFLIGHT).status == 401, "and so does another method with them"


def test_cors_without_a_key_allows_no_other_page(null):
    refused = null.request("/match", method="OPTIONS", **PREFLIGHT)
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers
    assert "access-control-allow-origin" not in null.request("/info").headers
