"""Many of the largest allowed requests at once, in a process with little memory left."""

import json
import resource
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import null_server

HELD = 9_000_000
MEMORY = 120  # MB above the idle server; 64 requests of 2 MB are more
MB = 1024 * 1024


@pytest.fixture(scope="module")
def tight():
    with null_server(batch_size=1, max_held_bytes=HELD) as server:
        yield server.until_ready()


@pytest.mark.scenario("S2")
def test_limits_max_held_bytes_bounds_all_bodies_and_larger_ones_are_discarded(tight):
    body = {"pairs": [["slow", "x" * 1_990_000]]}
    with ThreadPoolExecutor(6) as threads:
        pending = [threads.submit(tight.request, "/match", body) for _ in range(6)]
        found = [future.result() for future in pending]
    statuses = Counter(answer.status for answer in found)
    # A refused body counts until it is discarded, so fewer than the four that fit may be accepted at once.
    assert set(statuses) == {200, 429}, statuses
    assert 1 <= statuses[200] <= 4, statuses
    refused = next(answer for answer in found if answer.status == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert tight.request("/match", body).status == 200, "finished requests no longer count"
    large = json.dumps({"pairs": [["1", "x" * 20_000_000]]})  # more than the socket buffers hold
    for _ in range(3):
        answer = tight.request("/match", large)
        assert answer.status == 413, "and no broken pipe"
        assert "2,000,000 bytes" in answer.json["detail"]


@pytest.mark.scenario("S13")
@pytest.mark.skipif(sys.platform != "linux", reason="sets another process's limit")
def test_many_largest_requests_do_not_stop_the_server(tight):
    limit = resource.prlimit(tight.process.pid, resource.RLIMIT_AS)
    lines = Path(f"/proc/{tight.process.pid}/status").read_text().splitlines()
    idle = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize"))
    text = " " * 1_900  # in each of 1,000 pairs: 2 MB
    body = json.dumps({"pairs": [["1", f"{text}{number}"] for number in range(1_000)]})
    assert 1_900_000 < len(body) < 2_000_000
    resource.prlimit(tight.process.pid, resource.RLIMIT_AS, (idle + MEMORY * MB, limit[1]))
    try:
        together = threading.Barrier(64)

        def send_requests(_):
            together.wait()
            return tight.request("/match", body).status

        with ThreadPoolExecutor(64) as threads:
            found = set(threads.map(send_requests, range(64)))
        assert found <= {200, 429}, "where all arrive in equal parts, none may fit"
        assert tight.request("/match", {"pairs": [["7", "x"]]}).json["results"][0]["score"] == 7
    finally:
        resource.prlimit(tight.process.pid, resource.RLIMIT_AS, limit)
