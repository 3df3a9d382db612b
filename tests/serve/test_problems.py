"""Error responses: one format, without internals, and no effect on other requests."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flipkd.serve.problems import internal_error


@pytest.mark.scenario("S12", "X13")
def test_internal_error_shows_a_log_id_and_fails_no_other_request(null):
    with ThreadPoolExecutor(8) as threads:
        slow = threads.submit(null.request, "/match", {"pairs": [["slow", "x"]]})
        time.sleep(0.1)  # so that the others wait for one batch together
        pending = [threads.submit(null.request, "/match", {"pairs": [[word, "x"]]}) for word in ("1", "boom", "2")]
        assert slow.result().status == 200
        good, bad, also_good = (future.result() for future in pending)
    assert (good.status, also_good.status) == (200, 200)
    assert bad.status == 500
    assert bad.json["id"] in bad.json["detail"]
    assert "secret" not in bad.text
    assert "Traceback" not in bad.text
    assert null.request("/match", {"pairs": [["1", "x"]]}).status == 200, "the failures are counted from 0 again"
    for ready in (200, 200, 503):
        assert null.request("/match", {"pairs": [["nan", "x"]]}).status == 500
        assert null.request("/readyz").status == ready
    assert null.request("/match", {"pairs": [["1", "x"]]}).status == 200
    assert null.request("/readyz").status == 200, "it works again"


@pytest.mark.scenario("S12")
def test_cause_of_an_internal_error_is_in_the_log_under_its_id(caplog):
    answer = internal_error(RuntimeError("secret of the house"))
    log_id = json.loads(answer.body)["id"]
    assert f"request {log_id} failed" in caplog.text
    assert "RuntimeError: secret of the house" in caplog.text


@pytest.mark.scenario("S6")
def test_full_queue_returns_retry_after(null):
    many = {"pairs": [["slow", "x"]] * 50}
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(null.request, "/match", many)
        time.sleep(0.3)
        refused = null.request("/match", {"pairs": [["1", "x"]] * 40})
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json["error_type"] == "overloaded"
        assert null.request("/healthz").status == 200
        assert first.result().status == 504, "50 pairs of half a second each exceed the timeout of 3 seconds"


def test_problems_on_paths_of_v1_have_the_format_of_openai(null):
    def error(path, body=None):
        answer = null.request(path, body)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json.keys() == {"error"}
        return answer.status, answer.json["error"]

    status, found = error("/v1/embeddings", {"input": 5, "model": "m"})
    assert (status, found["type"], found["code"]) == (422, "invalid_request_error", "validation")
    assert found["param"].startswith("input")
    assert found["message"].startswith(found["param"])
    assert error("/v1/embeddings", {"input": " "})[1]["param"] is None
    assert error("/v1/embeddings", "{")[0] == 400
    assert error("/v1/nowhere")[0] == 404
    status, found = error("/v1/score", {"text_1": "boom", "text_2": "x"})
    assert (status, found["type"], found["code"]) == (500, "server_error", "backend")
    assert null.request("/v2/rerank", {}).headers["content-type"] == "application/problem+json"
