"""Requests generated from the OpenAPI schema: a documented status code, and no internals in the response."""

import json
import re
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema.validators import validator_for
from schemas import requests_of
from servers import sent_raw

OURS = re.compile(
    r"Traceback|\.py\b|site-packages|/(?:home|usr|root|tmp|work)/|0x[0-9a-f]{6}|object at|secret of the house"
)
BOOM = {"pairs": [["boom", "x"]]}  # raises in the model
VERSIONS = re.compile(r"uvicorn|fastapi|starlette|pydantic\.dev|Python/\d")


@pytest.mark.scenario("S17", "X13")
def test_every_request_gets_a_documented_code_without_internals(null):
    seen, openapi = set(), null.request("/openapi.json").json

    def check(path, method, body):
        answer = null.request(path, None if body is None else json.dumps(body), method=method.upper())
        documented = openapi["paths"][path][method]["responses"]
        assert str(answer.status) in documented, answer
        assert answer.status < 500 or body == BOOM, answer
        if answer.status >= 400:
            schema = documented[str(answer.status)]["content"][answer.headers["content-type"]]["schema"]
            validator_for(schema)(schema).validate(answer.json)  # jsonschema.validate would check the schema each time
            sent = json.dumps(body, ensure_ascii=False)
            for word in OURS.findall(answer.text) + VERSIONS.findall(answer.text):
                assert word in sent, answer.text
        assert not VERSIONS.search(str(answer.headers)), answer.headers
        seen.add((path, answer.status))

    @settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(request=requests_of(openapi))
    def check_all(request):
        check(*request)

    check_all()
    check("/match", "post", BOOM)
    assert ("/match", 500) in seen
    assert len({path for path, status in seen if status == 200}) >= 5
    assert len({path for path, status in seen if status == 422}) >= 5


@pytest.mark.scenario("X13")
@pytest.mark.parametrize(
    "raw", [b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /match\r\n\r\n", b"\x00\xff\r\n\r\n"]
)
def test_server_answers_invalid_http_without_internals(null, raw):
    found = sent_raw(null, raw, timeout=3)
    assert not OURS.search(found)
    assert not VERSIONS.search(found)
    assert sys.version.split()[0] not in found


OUTSIDE = ["http://canary.example/model", "file:///tmp/canary", "/tmp/canary", "../../canary", "s3://canary/x"]
FIELDS = ["url", "path", "index", "matcher", "base_model", "model_name_or_path", "revision", "file", "dataset"]


@pytest.mark.scenario("X7")
@pytest.mark.parametrize("address", OUTSIDE)
def test_no_request_opens_a_connection_or_a_file(null, address):
    """The null server ends with SPIED when it does."""
    for path, body in (
        ("/match", {"pairs": [[address, address]]}),
        ("/v1/rerank", {"query": address, "documents": [address, {"text": "x", "url": address}], "model": address}),
        ("/score", {"text_1": address, "text_2": address, "model": address}),
        ("/search", {"query": address}),
        ("/v1/embeddings", {"input": address, "model": address}),
    ):
        assert null.request(path, body).status == 200
        for field in FIELDS:
            answer = null.request(path, body | {field: address})
            if path in ("/match", "/search"):
                assert answer.status == 422
                assert f"{field}: no such field" in answer.json["detail"]
            else:
                assert (answer.status, answer.headers["x-ignored-fields"]) == (200, field)
    assert null.process.poll() is None


@pytest.mark.scenario("X6")
@pytest.mark.parametrize(
    "up", ["../", "%2e%2e/", "..%2f", "%2e%2e%2f", "..\\", "..;/", "%00", "/", "//", "page.js/../../"]
)
def test_server_reads_no_file_by_path_traversal(null, up):
    for place in (f"/{up * 6}canary", f"/page.css/{up * 6}canary", f"/{up * 6}etc/passwd", f"/{up * 3}conftest.py"):
        answer = null.request(place)
        assert answer.status == 404, place
        assert "root:" not in answer.text
    assert null.process.poll() is None
