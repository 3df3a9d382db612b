"""Figures for Prometheus, and the log: no word of a client in either, and no more series for more paths."""

import pytest
from servers import null_server, sent_raw

SECRET = "canasta"  # in all that this client sends
PATHS = [f"/odd/{number}?text={SECRET}{number}" for number in range(200)]
MORE = 18  # lines of one series, which the first question for the metrics adds
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
def test_nothing_that_a_client_sends_stands_in_metrics_or_log():
    with null_server() as server:
        server.until_ready()
        server.ask("/odd")
        before = len(server.ask("/metrics").text.splitlines())
        for path in PATHS:
            assert server.ask(path, user_agent=SECRET).status == 404
        assert len(server.ask("/metrics").text.splitlines()) <= before + MORE
        for body in BODIES:
            server.ask("/match", body)
        for method in (SECRET.upper(), "DELETE"):
            server.ask(f"/{SECRET}", method=method)
        server.ask("/match", f"{SECRET}{{")
        for raw in (f"{SECRET}\r\n\r\n", f"GET /{SECRET} HTTP/1.1\r\nHost: {SECRET}\r\n{SECRET}: \x1b\n\n\r\n\r\n"):
            sent_raw(server, raw.encode(), timeout=3)
        server.ask("/info", host=f"{SECRET}.example")
        after = server.ask("/metrics").text
        server.process.terminate()
        assert server.process.wait(10) == 0
        log = server.process.stderr.read()
    assert SECRET not in after.lower()
    assert SECRET not in log.lower()
    assert "\x1b" not in log
    assert "secret of the house" in log, "the cause of a failure"
