"""Pages of other sites: with a key they may ask, and read what they are answered; without one they may not."""

from servers import null_server

KEY = "k" * 32
ASKED = {
    "origin": "https://shop.example",
    "access_control_request_method": "POST",
    "access_control_request_headers": "authorization,content-type",
}


def test_with_a_key_any_page_may_ask_and_read():
    with null_server(api_key=KEY) as server:
        server.until_ready()
        for path in ("/match", "/v1/embeddings", "/info"):
            preflight_response = server.ask(path, method="OPTIONS", **ASKED)
            assert (preflight_response.status, preflight_response.text) == (204, "")
            assert preflight_response.headers["access-control-allow-origin"] == "*"
            assert preflight_response.headers["access-control-allow-headers"] == "authorization,content-type"
            assert "POST" in preflight_response.headers["access-control-allow-methods"]
        odd = server.ask("/match", method="OPTIONS", **ASKED | {"access_control_request_headers": "a\x01b"})
        assert odd.headers.get("access-control-allow-headers", "") != "a\x01b"
        body, page = {"pairs": [["1", "x"]]}, {"origin": "https://shop.example"}
        for status, given in ((200, {"authorization": f"Bearer {KEY}"}), (401, {})):
            answer = server.ask("/match", body, **page, **given)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "*")
        assert server.ask("/match", method="OPTIONS").status == 401, "what is no such question needs the key"


def test_without_a_key_no_other_page_may(null):
    refused = null.ask("/match", method="OPTIONS", **ASKED)
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers
    assert "access-control-allow-origin" not in null.ask("/info").headers
