"""Service: loading, loading errors, and a model that fails."""

import asyncio
import statistics
import time
from types import SimpleNamespace

import pytest
from servers import null_server

from flipkd.serve.limits import Limits
from flipkd.serve.loaded import Loaded
from flipkd.serve.service import NotReady, Service


@pytest.mark.scenario("S14", "L12")
def test_readyz_is_503_while_loading_and_then_the_model_is_warm():
    with null_server(loading=1.5, cold=1.0) as server:
        began = time.monotonic()
        assert server.request("/healthz").status == 200
        ready = server.request("/readyz")
        assert ready.status == 503
        assert "loading" in ready.json["detail"]
        assert server.request("/match", {"pairs": [["1", "x"]]}).status == 503
        server.until_ready()
        assert time.monotonic() - began < 1.5 * (1.5 + 1.0), "what loading and a first pass take, and half as much"
        times = []
        for _ in range(6):
            began = time.monotonic()
            assert server.request("/match", {"pairs": [["1", "wait 0.2"]]}).status == 200
            times.append(time.monotonic() - began)
        assert times[0] < 3 * statistics.median(times), "the first pass of all was made before it was ready"


@pytest.mark.scenario("S14")
def test_service_loading_error_ends_the_server_with_its_exit_code():
    with null_server(loading=0.5, broken=True) as server:
        assert server.request("/readyz").status == 503
        assert server.process.wait(10) == 6


@pytest.mark.scenario("S12")
def test_failed_model_recovers_through_probes():
    with null_server(probe_interval=1.0) as server:
        server.until_ready()
        for _ in range(3):
            assert server.request("/match", {"pairs": [["boom", "x"]] * 40}).status == 500
        assert server.request("/readyz").status == 503
        server.until_ready()


@pytest.mark.scenario("S12")
def test_panic_in_the_model_fails_one_request_only():
    with null_server() as server:
        server.until_ready()
        assert server.request("/match", {"pairs": [["panic", "x"]]}).status == 500
        assert server.request("/match", {"pairs": [["1", "x"]]}).status == 200
        assert server.request("/readyz").status == 200


def test_service_whose_loader_dies_ends_the_server_with_an_error():
    with null_server(dies="loading") as server:
        assert server.process.wait(20) == 1
        assert "the service stopped working (Panic)" in server.process.stderr.read()


def test_dead_queue_is_replaced():
    with null_server(dies="pairs", loading=0.5) as server:
        server.until_ready()
        assert server.request("/match", {"pairs": [["1", "x"]]}).status == 503
        server.until_ready()
        assert server.request("/match", {"pairs": [["1", "x"]]}).status == 200
        assert server.process.poll() is None


def test_requests_raise_not_ready_after_a_queue_died():
    async def die():
        service = Service(lambda: None, limits=Limits(), name="n")
        service._load_and_warm_up = lambda: Loaded(None)
        service.queues["pairs"]._next_batch = broken
        await service.start()
        while service.state == "loading":
            await asyncio.sleep(0.01)
        assert service.state == "ready"
        with pytest.raises(NotReady):
            await service.queues["pairs"].submit([1], timeout=0.2)
        assert service.finished.is_set()
        assert service.state == "failed"
        with pytest.raises(NotReady):
            await service.match([("a", "b")], until=service.deadline())
        await service.stop()

    def broken():
        raise GeneratorExit  # a BaseException that asyncio does not pass on to the loop

    asyncio.run(die())


@pytest.mark.scenario("S8")
def test_time_limit_is_that_of_the_request_and_not_of_each_of_its_calls():
    async def call(method, *arguments, **options):
        service = Service(lambda: None, limits=Limits(), name="n")
        prompt = SimpleNamespace(clip_text=lambda text, least: (text, False))
        matcher = SimpleNamespace(teacher=None, student=SimpleNamespace(prompt=prompt), predict=computed.append)
        service._load_and_warm_up = lambda: Loaded(matcher, index=[], encode=computed.append)
        await service.start()
        while service.state == "loading":
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await getattr(service, method)(*arguments, until=time.monotonic() - 1, **options)
        await service.stop()

    computed = []
    asyncio.run(call("match", [("a", "b")]))
    asyncio.run(call("encode", ["a"]))
    asyncio.run(call("nearest", "a", candidates=1))
    assert computed == []
