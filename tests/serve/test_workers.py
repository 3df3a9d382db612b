"""Several workers behind one port: kills, reloads and the end, with a null matcher."""

import http.client
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from served_versions import BEARER, server_of, write_version
from servers import null_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
PAIR = {"pairs": [["1", "x"]]}


def workers_of(server):
    """Process ids of the workers."""
    with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children") as children:
        return [int(number) for number in children.read().split()]


def is_running(process):
    try:
        with open(f"/proc/{process}/status") as status:
            return "(zombie)" not in status.read()
    except OSError:
        return False


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def series(server, name):
    """Values of a metric by worker."""
    lines = [line for line in server.request("/metrics", **BEARER).text.splitlines() if line.startswith(f"{name}{{")]
    return {line.split('worker="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}


def versions(server):
    """The versions that the workers serve; each request is a new connection, which any of them may accept."""
    lines = server.request("/metrics", **BEARER).text.splitlines()
    return sorted(
        line.split('version="')[1].split('"')[0] for line in lines if line.startswith("flipkd_matcher_version{")
    )


@pytest.fixture
def server(tmp_path):
    with server_of(tmp_path, "a", "b", workers=2, aliases={"live": "a"}, batch_size=4) as server:
        until(lambda: series(server, "flipkd_matcher_ready") == {"0": 1, "1": 1})
        yield server


def test_workers_replace_one_that_is_killed_while_the_other_continues(server):
    first = workers_of(server)
    assert len(first) == 2
    stop, failed, answered = False, 0, 0

    def keep_sending():
        nonlocal failed, answered
        while not stop:
            try:
                reply = server.request("/match", PAIR, **BEARER)
                assert reply.status == 200, reply
                answered += 1
            except (OSError, http.client.HTTPException):  # the worker may be killed in the middle of a response
                failed += 1

    with ThreadPoolExecutor(3) as threads:
        senders = [threads.submit(keep_sending) for _ in range(3)]
        until(lambda: answered > 20)
        for _ in range(3):
            os.kill(workers_of(server)[0], signal.SIGKILL)
            until(lambda: series(server, "flipkd_matcher_ready") == {"0": 1, "1": 1})
        stop = True
        for sender in senders:
            sender.result()
    assert failed <= 9, "no more than the requests that a killed worker had"
    assert set(workers_of(server)).isdisjoint(first[:1])
    assert "worker 0 ended with code -9 and is replaced" in server.stopped()


@pytest.mark.scenario("S11")
@pytest.mark.parametrize("way", ["request", "signal"])
def test_a_reload_reaches_every_worker_and_fails_no_request(server, tmp_path, way):
    stop, seen = False, []

    def keep_sending():
        while not stop:
            reply = server.request("/match", PAIR | {"model": "a"}, **BEARER)
            assert reply.status == 200, reply
            seen.append((reply.json["revision"], reply.json["results"][0]["score"]))

    with ThreadPoolExecutor(2) as threads:
        senders = [threads.submit(keep_sending) for _ in range(2)]
        until(lambda: len(seen) > 10)
        write_version(tmp_path / "a.json", "a-2", offset=5000)
        if way == "request":
            rows = server.request("/admin/reload", {"model": "a"}, **BEARER).json["results"]
            assert [(row["worker"], row["before"], row["after"]) for row in rows] == [
                (0, "a-1", "a-2"),
                (1, "a-1", "a-2"),
            ]
        else:
            server.process.send_signal(signal.SIGHUP)
        until(lambda: versions(server) == ["a-2", "a-2", "b-1", "b-1"])
        count = len(seen)
        until(lambda: len(seen) > count + 5)
        stop = True
        for sender in senders:
            sender.result()
    assert set(seen) == {("a-1", 1001.0), ("a-2", 5001.0)}
    write_version(tmp_path / "a.json", "a-3", broken=True)
    refused = server.request("/admin/reload", {}, **BEARER)
    assert refused.status == 424
    assert "version a-2 keeps serving" in refused.json["detail"]
    assert versions(server) == ["a-2", "a-2", "b-1", "b-1"]


def test_no_answer_is_a_503_while_a_worker_loads_at_the_start_and_after_a_kill(tmp_path):
    files = {"a": write_version(tmp_path / "a.json", "a-1", loading=0.5)}
    with null_server(matchers=files, workers=2) as server:
        assert [server.request("/match", PAIR).status for _ in range(20)] == [200] * 20
        until(lambda: series(server, "flipkd_matcher_ready") == {"0": 1, "1": 1})
        os.kill(workers_of(server)[0], signal.SIGKILL)
        replaced, statuses = time.monotonic() + 1.5, []
        while time.monotonic() < replaced:
            try:
                statuses.append(server.request("/match", PAIR).status)
            except (OSError, http.client.HTTPException):  # the killed worker had it
                statuses.append("lost")
        assert set(statuses) <= {200, "lost"}
        assert statuses.count("lost") <= 1
        assert series(server, "flipkd_matcher_ready") == {"0": 1, "1": 1}


def test_workers_end_at_sigterm_while_they_load(tmp_path):
    files = {"a": write_version(tmp_path / "a.json", "a-1", loading=20)}
    with null_server(matchers=files, workers=2) as server:
        until(lambda: len(workers_of(server)) == 2)
        time.sleep(0.3)
        server.process.terminate()
        assert server.process.wait(10) == 0


def test_aliases_reach_every_worker_and_each_replacement(server):
    wrong = server.request("/admin/aliases", {"aliases": {"live": "nobody"}}, **BEARER)
    assert wrong.status == 422
    assert "no matcher is called 'nobody'" in wrong.json["detail"]
    assert server.request("/admin/aliases", {"aliases": {"live": "b"}}, **BEARER).json == {
        "aliases": {"live": {"b": 1.0}}
    }
    for process in workers_of(server):
        os.kill(process, signal.SIGKILL)
    until(lambda: len(workers_of(server)) == 2)
    until(lambda: series(server, "flipkd_matcher_ready") == {"0": 1, "1": 1})
    for _ in range(20):
        assert server.request("/match", PAIR | {"model": "live"}, **BEARER).headers["x-model"] == "b"


@pytest.mark.scenario("S9")
def test_workers_finish_accepted_requests_at_shutdown_and_leave_no_process(server):
    processes = workers_of(server)
    with ThreadPoolExecutor(4) as threads:
        slow = [threads.submit(server.request, "/match", {"pairs": [["1", "wait 0.8"]]}, **BEARER) for _ in range(4)]
        time.sleep(0.4)
        server.process.send_signal(signal.SIGTERM)
        assert [reply.result().status for reply in slow] == [200] * 4
    assert server.process.wait(10) == 0
    assert not any(is_running(number) for number in processes)


def test_workers_end_when_their_parent_is_killed(server):
    processes = workers_of(server)
    server.process.send_signal(signal.SIGKILL)

    until(lambda: not any(is_running(number) for number in processes))


@pytest.mark.scenario("S14")
def test_a_matcher_that_cannot_be_loaded_ends_all_workers_with_its_exit_code():
    with null_server(workers=2, broken=True) as server:
        assert server.process.wait(20) == 6
        assert "the model is broken" in server.process.stderr.read()
