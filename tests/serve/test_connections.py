"""More connections than file descriptors: the server continues, logs it once, and responds when they are closed."""

import contextlib
import logging
import socket
import time

import pytest
from servers import null_server

from flipkd.serve import connections
from flipkd.serve.connections import limit_to_descriptors, rate_limited_logs

resource = pytest.importorskip("resource")


@pytest.mark.scenario("S3", "S14")
def test_many_idle_connections_neither_stop_the_server_nor_fill_the_log():
    with null_server(header_timeout=2.0, open_files=400) as server:
        server.until_ready()
        with contextlib.ExitStack() as stack:
            for _ in range(600):
                raw = stack.enter_context(socket.socket())
                raw.settimeout(5)
                with contextlib.suppress(OSError):
                    raw.connect(server.address)
            time.sleep(0.5)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                if server.request("/healthz").status == 200:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert server.request("/match", {"pairs": [["1", "x"]]}).status == 200
        server.process.kill()
        _, log = server.process.communicate()
    assert "Traceback" not in log
    assert len(log.splitlines()) <= 4, log[:2000]
    assert "new ones are closed" in log
    assert "this process may open 400 files" in log


@pytest.mark.scenario("S14")
def test_limit_to_descriptors_is_the_number_of_free_descriptors(monkeypatch):
    monkeypatch.setattr(connections, "_open_files", lambda: 20)
    for soft, most in ((1024, 844), (100_000, 2048), (resource.RLIM_INFINITY, 2048)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert limit_to_descriptors(2048) == most
    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 128))
    with pytest.raises(connections.ResourceError, match="128 files, too few"):
        limit_to_descriptors(2048)


def test_rate_limited_logs_write_a_message_once_a_minute(caplog, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: clock[0])
    logger = logging.getLogger("uvicorn.error")
    with rate_limited_logs("uvicorn.error"):
        for clock[0] in (0.0, 1.0, 59.0, 61.0):
            logger.warning("no more than %d", int(clock[0]))
        logger.warning("something else")
    logger.warning("no more than %d", 62)
    assert caplog.messages == ["no more than 0", "no more than 61", "something else", "no more than 62"]
