"""The threads of an index: several calls at a time, a limit of time for each, errors of a filter."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from flipkd.errors import ConfigError, DataError, ResourceError
from flipkd.serve.threads import THREADS, IndexThreads


def run(work):
    """Run `work(threads)`, a coroutine, and shut the threads down."""
    threads = IndexThreads()

    async def with_threads():
        return await work(threads)

    try:
        return asyncio.run(with_threads())
    finally:
        threads.shutdown()


def later(seconds=5.0):
    return time.monotonic() + seconds


def test_index_threads_run_calls_side_by_side_and_return_their_results():
    together = threading.Barrier(THREADS)  # no call returns before all have begun

    def call():
        together.wait(5)
        return threading.current_thread().name

    async def work(threads):
        return await asyncio.gather(*(threads.run(call, until=later()) for _ in range(THREADS)))

    names = run(work)
    assert len(set(names)) == THREADS
    assert all(name.startswith("index") for name in names)


@pytest.mark.parametrize("left", [0.02, -1.0])
def test_index_threads_raise_timeout_error_at_the_end_of_the_time(left):
    ended = threading.Event()

    async def work(threads):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await threads.run(lambda: ended.wait(5), until=later(left))
        assert time.monotonic() - began < 2, "the caller does not wait for the call"
        ended.set()

    run(work)


def test_index_threads_raise_data_error_for_a_filter_and_other_errors_as_they_are():
    def fail(error):
        raise error

    async def work(threads):
        with pytest.raises(DataError, match="the filter cannot be used"):
            await threads.run(lambda: fail(ConfigError("the filter cannot be used")), until=later())
        with pytest.raises(ResourceError, match="the disk"):
            await threads.run(lambda: fail(ResourceError("the disk")), until=later())

    run(work)


def test_index_threads_shutdown_ends_no_call_but_starts_none_that_waits():
    ended, begun = threading.Event(), []

    def call(number):
        begun.append(number)
        ended.wait(5)
        return number

    async def work(threads):
        calls = [asyncio.ensure_future(threads.run(lambda n=n: call(n), until=later())) for n in range(THREADS + 2)]
        while len(begun) < THREADS:
            await asyncio.sleep(0.001)
        threads.shutdown()
        ended.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    found = run(work)
    assert found[:THREADS] == list(range(THREADS))
    assert all(isinstance(each, asyncio.CancelledError) for each in found[THREADS:])
    assert sorted(begun) == list(range(THREADS))
