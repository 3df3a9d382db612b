"""More connections than there are files for: the server lives, says so once, and answers when they are gone."""

import contextlib
import json
import logging
import shlex
import socket
import sys
import time

import pytest
from servers import HERE, running

from flipkd.serve import connections
from flipkd.serve.connections import limit_to_descriptors, rate_limited_logs

resource = pytest.importorskip("resource")


@pytest.mark.scenario("S3", "S14")
def test_a_flood_of_idle_connections_neither_ends_it_nor_fills_the_log():
    settings = shlex.quote(json.dumps({"header_timeout": 2.0}))
    start = f"ulimit -n 400; exec {shlex.quote(sys.executable)} {HERE / 'null_server.py'} {settings}"
    with running("sh", "-c", start) as server:
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
                if server.ask("/healthz").status == 200:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert server.ask("/match", {"pairs": [["1", "x"]]}).status == 200
        server.process.kill()
        _, said = server.process.communicate()
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 4, said[:2000]
    assert "new ones are closed" in said
    assert "this process may open 400 files" in said


@pytest.mark.scenario("S14")
def test_as_many_connections_as_there_are_files_for(monkeypatch):
    monkeypatch.setattr(connections, "_open_files", lambda: 20)
    for soft, most in ((1024, 844), (100_000, 2048), (resource.RLIM_INFINITY, 2048)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert limit_to_descriptors(2048) == most
    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 128))
    with pytest.raises(connections.ResourceError, match="128 files, too few"):
        limit_to_descriptors(2048)


def test_the_same_line_stands_in_the_log_once_a_minute(caplog, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: clock[0])
    logger = logging.getLogger("uvicorn.error")
    with rate_limited_logs("uvicorn.error"):
        for clock[0] in (0.0, 1.0, 59.0, 61.0):
            logger.warning("no more than %d", int(clock[0]))
        logger.warning("something else")
    logger.warning("no more than %d", 62)
    assert caplog.messages == ["no more than 0", "no more than 61", "something else", "no more than 62"]
