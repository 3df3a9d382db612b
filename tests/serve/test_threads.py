"""ModelThread: calls in order, errors of any kind, a death that shows. IndexThreads: calls side by side, each with a limit."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time

import pytest

from flipkd.errors import ConfigError, DataError, ResourceError
from flipkd.serve.threads import THREADS, IndexThreads, ModelThread


def test_calls_run_in_order_in_one_thread():
    thread, seen = ModelThread(), []
    futures = [thread.submit(seen.append, number) for number in range(100)]
    futures[-1].result(5)
    assert seen == list(range(100))
    assert thread.submit(lambda a, b: a - b, 3, b=1).result(5) == 2
    assert not thread.is_dead
    thread.shutdown()
    thread._thread.join(5)
    assert thread.is_dead


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_of_any_kind_ends_the_call_and_not_the_thread(error):
    def fail():
        raise error

    thread = ModelThread()
    with pytest.raises(error):
        thread.submit(fail).result(5)
    assert thread.submit(lambda: 7).result(5) == 7
    assert thread.running_calls == 0
    thread.shutdown()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_model_thread_is_dead_after_its_end_and_not_before_it_began():
    thread = ModelThread()
    assert not thread.is_dead
    assert thread.submit(lambda: 7).result(5) == 7
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread._thread.ident), ctypes.py_object(SystemExit))
    lost = thread.submit(lambda: 7)
    deadline = time.monotonic() + 5
    while not thread.is_dead:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not lost.done()


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
