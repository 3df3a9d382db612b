"""BatchQueue: own results in order, fair shares, and cancelled requests are dropped."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from flipkd.serve.queue import BatchQueue, Overloaded


@asynccontextmanager
async def queue(work, **settings):
    with ThreadPoolExecutor(1) as executor:
        batches = BatchQueue(work, executor=executor, **({"batch_size": 4, "max_queue": 1000} | settings))
        task = asyncio.create_task(batches.run())
        yield batches
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def doubled(items):
    return [2 * item for item in items]


@pytest.mark.scenario("L6")
def test_submit_returns_own_results_in_order():
    async def submit_many():
        async with queue(doubled) as batches:
            sizes = [1, 7, 4, 0, 30, 2, 2, 11]
            starts = [sum(sizes[:place]) for place in range(len(sizes))]
            requests = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
            found = await asyncio.gather(*(batches.submit(items, timeout=5) for items in requests))
            assert found == [doubled(items) for items in requests]
            assert batches.depth == 0

    asyncio.run(submit_many())


@pytest.mark.scenario("L9")
def test_batches_are_full_and_shared_between_waiting_requests():
    seen_batches = []

    def recorded(items):
        seen_batches.append(items)
        return items

    async def submit_two():
        async with queue(recorded) as batches:
            await asyncio.gather(batches.submit(["long"] * 10, timeout=5), batches.submit(["short"] * 2, timeout=5))

    asyncio.run(submit_two())
    assert [len(items) for items in seen_batches] == [4, 4, 4]
    assert seen_batches[0] == ["long", "long", "short", "short"]


def test_queue_max_wait_delays_a_batch_that_is_not_full():
    sizes = []

    async def submit_twice(wait):
        async with queue(lambda items: sizes.append(len(items)) or items, max_wait=wait) as batches:
            first = asyncio.create_task(batches.submit([1], timeout=5))
            await asyncio.sleep(0.02)
            await asyncio.gather(first, batches.submit([2], timeout=5))

    asyncio.run(submit_twice(0.0))
    asyncio.run(submit_twice(0.5))
    assert sizes == [1, 1, 2]


@pytest.mark.scenario("S6")
def test_submit_raises_overloaded_only_for_items_that_do_not_fit():
    async def overfill():
        release = asyncio.Event()

        def slow(items):
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
            return items

        loop = asyncio.get_running_loop()
        async with queue(slow, max_queue=10) as batches:
            taken = asyncio.create_task(batches.submit(["a"] * 4, timeout=5))
            await asyncio.sleep(0.05)
            waiting = asyncio.create_task(batches.submit(["b"] * 8, timeout=5))
            await asyncio.sleep(0.05)
            with pytest.raises(Overloaded) as refused:
                async with asyncio.timeout(0):  # at once: a submit that waits for anything raises TimeoutError
                    await batches.submit(["c"] * 3, timeout=5)
            assert refused.value.retry_after >= 1
            more = asyncio.create_task(batches.submit(["d"] * 2, timeout=5))
            await asyncio.sleep(0)
            assert batches.depth == 10
            release.set()
            assert [len(found) for found in await asyncio.gather(taken, waiting, more)] == [4, 8, 2]

    asyncio.run(overfill())


@pytest.mark.scenario("S7", "S8")
@pytest.mark.parametrize("cancelled_by", ["by timeout", "by cancelling"])
def test_queue_sends_no_items_of_a_cancelled_request_to_the_model(cancelled_by):
    seen = []

    async def cancel_one():
        release = asyncio.Event()

        def slow(items):
            seen.extend(items)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
            return items

        loop = asyncio.get_running_loop()
        async with queue(slow) as batches:
            taken = asyncio.create_task(batches.submit(["a"] * 4, timeout=5))
            await asyncio.sleep(0.05)
            if cancelled_by == "by timeout":
                with pytest.raises(TimeoutError):
                    await batches.submit(["b"] * 6, timeout=0.05)
            else:
                cancelled = asyncio.create_task(batches.submit(["b"] * 6, timeout=5))
                await asyncio.sleep(0.05)
                cancelled.cancel()
                await asyncio.gather(cancelled, return_exceptions=True)
            assert batches.depth == 0
            release.set()
            assert await taken == ["a"] * 4
            assert await batches.submit(["c"], timeout=5) == ["c"]

    asyncio.run(cancel_one())
    assert seen == ["a"] * 4 + ["c"]


@pytest.mark.scenario("S12")
def test_queue_raises_the_error_of_a_failed_batch_only_in_the_request_at_fault():
    def picky(items):
        if "bad" in items:
            raise RuntimeError("bad item")
        return doubled(items)

    async def submit_three():
        outcomes = []
        async with queue(picky, on_result=outcomes.append) as batches:
            found = await asyncio.gather(
                batches.submit(["x"], timeout=5),
                batches.submit(["bad"], timeout=5),
                batches.submit(["y"], timeout=5),
                return_exceptions=True,
            )
            assert found[0] == ["xx"]
            assert found[2] == ["yy"]
            assert isinstance(found[1], RuntimeError)
            for _ in range(2):
                with pytest.raises(RuntimeError):
                    await batches.submit(["bad"] * 9, timeout=5)
            assert outcomes.count(False) == 3, "once for each request at fault, whatever its number of batches"
            assert await batches.submit(["z"], timeout=5) == ["zz"]
            assert outcomes[-1] is True

    asyncio.run(submit_three())


@pytest.mark.scenario("S12")
def test_queue_raises_an_error_for_a_wrong_number_of_results():
    async def submit_all():
        async with queue(lambda items: items[:-1]) as batches:
            with pytest.raises(RuntimeError, match="got 2 results for 3 items"):
                await batches.submit([1, 2, 3], timeout=5)

    asyncio.run(submit_all())
