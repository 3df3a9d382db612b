"""Metrics and log: nothing that a client sent is in them, and unknown paths add no series."""

import pytest
from servers import null_server, sent_raw

SECRET = "canasta"  # part of everything that this client sends
PATHS = [f"/odd/{number}?text={SECRET}{number}" for number in range(200)]
LINES_PER_SERIES = 18  # added by the first request for the metrics
BODIES = [
    {"pairs": [["1", SECRET]]},
    {"pairs": [["boom", SECRET]]},
    {"pairs": [["panic", SECRET]]},
    {"pairs": [["nan", SECRET]]},
    {"pairs": [[SECRET, " "]]},
    {"pairs": [[SECRET, 5]]},
    {SECRET: "\x1b[31m\n"},
    [SECRET],
]


@pytest.mark.scenario("X14")
def test_metrics_and_log_contain_nothing_that_a_client_sent():
    with null_server() as server:
        server.until_ready()
        server.request("/odd")
        before = len(server.request("/metrics").text.splitlines())
        for path in PATHS:
            assert server.request(path, user_agent=SECRET).status == 404
        assert len(server.request("/metrics").text.splitlines()) <= before + LINES_PER_SERIES
        for body in BODIES:
            server.request("/match", body)
        for method in (SECRET.upper(), "DELETE"):
            server.request(f"/{SECRET}", method=method)
        server.request("/match", f"{SECRET}{{")
        for raw in (f"{SECRET}\r\n\r\n", f"GET /{SECRET} HTTP/1.1\r\nHost: {SECRET}\r\n{SECRET}: \x1b\n\n\r\n\r\n"):
            sent_raw(server, raw.encode(), timeout=3)
        server.request("/info", host=f"{SECRET}.example")
        after = server.request("/metrics").text
        server.process.terminate()
        assert server.process.wait(10) == 0
        log = server.process.stderr.read()
    assert SECRET not in after.lower()
    assert SECRET not in log.lower()
    assert "\x1b" not in log
    assert "secret of the house" in log, "the cause of a failure"
