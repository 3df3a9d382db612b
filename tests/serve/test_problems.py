"""Failures: one shape for all, no word of what is inside, and nobody else is hurt."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.mark.scenario("S12", "X13")
def test_a_failure_of_ours_shows_an_id_and_hurts_nobody_else(null):
    with ThreadPoolExecutor(8) as threads:
        slow = threads.submit(null.ask, "/match", {"pairs": [["slow", "x"]]})
        time.sleep(0.1)  # so that the others wait for one pass together
        asked = [threads.submit(null.ask, "/match", {"pairs": [[word, "x"]]}) for word in ("1", "boom", "2")]
        assert slow.result().status == 200
        good, bad, also_good = (future.result() for future in asked)
    assert (good.status, also_good.status) == (200, 200)
    assert bad.status == 500
    assert bad.json["id"] in bad.json["detail"]
    assert "secret" not in bad.text
    assert "Traceback" not in bad.text
    for _ in range(3):
        assert null.ask("/match", {"pairs": [["nan", "x"]]}).status == 500
    assert null.ask("/readyz").status == 503
    assert null.ask("/match", {"pairs": [["1", "x"]]}).status == 200
    assert null.ask("/readyz").status == 200, "it works again"


@pytest.mark.scenario("S6")
def test_a_full_queue_says_when_to_come_back(null):
    many = {"pairs": [["slow", "x"]] * 50}
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(null.ask, "/match", many)
        time.sleep(0.3)
        refused = null.ask("/match", {"pairs": [["1", "x"]] * 40})
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json["error_type"] == "overloaded"
        assert null.ask("/healthz").status == 200
        assert first.result().status == 504, "50 passes of half a second are more than the 3 seconds allowed"
