"""A service while it loads, when it cannot, and when its model fails."""

import asyncio
import contextlib
import http.client
import statistics
import time

import pytest
from servers import null_server

from flipkd.serve.limits import Limits
from flipkd.serve.service import Loaded, NotReady, Service


@pytest.mark.scenario("S14", "L12")
def test_while_it_loads_it_is_alive_and_not_ready_and_then_it_is_warm():
    with null_server(loading=1.5, cold=1.0) as server:
        began = time.monotonic()
        assert server.ask("/healthz").status == 200
        ready = server.ask("/readyz")
        assert ready.status == 503
        assert "loading" in ready.json["detail"]
        assert server.ask("/match", {"pairs": [["1", "x"]]}).status == 503
        server.until_ready()
        assert time.monotonic() - began < 1.5 * (1.5 + 1.0), "what loading and a first pass take, and half as much"
        times = []
        for _ in range(6):
            began = time.monotonic()
            assert server.ask("/match", {"pairs": [["1", "wait 0.2"]]}).status == 200
            times.append(time.monotonic() - began)
        assert times[0] < 3 * statistics.median(times), "the first pass of all was made before it was ready"


@pytest.mark.scenario("S14")
def test_a_model_that_cannot_be_loaded_ends_it_with_its_exit_code():
    with null_server(loading=0.5, broken=True) as server:
        assert server.ask("/readyz").status == 503
        assert server.process.wait(10) == 6


@pytest.mark.scenario("S12")
def test_a_model_that_failed_is_tried_again_by_itself():
    with null_server(probe_interval=1.0) as server:
        server.until_ready()
        for _ in range(3):
            assert server.ask("/match", {"pairs": [["boom", "x"]] * 40}).status == 500
        assert server.ask("/readyz").status == 503
        server.until_ready()


@pytest.mark.scenario("S12")
def test_a_panic_in_the_model_is_a_failed_request_and_not_the_end_of_the_queue():
    with null_server() as server:
        server.until_ready()
        assert server.ask("/match", {"pairs": [["panic", "x"]]}).status == 500
        assert server.ask("/match", {"pairs": [["1", "x"]]}).status == 200
        assert server.ask("/readyz").status == 200


@pytest.mark.parametrize("dies", ["pairs", "loading"])
def test_a_server_that_could_answer_nobody_again_says_so_and_ends(dies):
    with null_server(dies=dies) as server:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for _ in range(100):
                if server.ask("/match", {"pairs": [["1", "x"]]}).status not in (503, 504):
                    time.sleep(0.05)
        assert server.process.wait(20) == 1
        assert "the service stopped working (Panic)" in server.process.stderr.read()


def test_once_a_queue_has_died_requests_are_refused():
    async def die():
        service = Service(lambda: None, limits=Limits(), name="n", revision="r")
        service._warm = lambda: Loaded(None)
        service.queues["pairs"]._next = broken
        await service.start()
        while service.state == "loading":
            await asyncio.sleep(0.01)
        assert service.state == "ready"
        with pytest.raises(TimeoutError):
            await service.queues["pairs"].ask([1], timeout=0.2)
        assert service.finished.is_set()
        assert service.state == "failed"
        with pytest.raises(NotReady):
            await service.match([("a", "b")], until=service.deadline())
        await service.stop()

    def broken():
        raise GeneratorExit  # a BaseException that asyncio does not pass on to the loop

    asyncio.run(die())
