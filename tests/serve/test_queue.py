"""BatchQueue: each asker gets its own answers, in order; long ones do not hold up short ones; who leaves is forgotten."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from flipkd.serve.queue import BatchQueue, Overloaded


@asynccontextmanager
async def queue(work, **settings):
    with ThreadPoolExecutor(1) as executor:
        made = BatchQueue(work, executor=executor, **({"batch_size": 4, "max_queue": 1000} | settings))
        task = asyncio.create_task(made.run())
        yield made
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def doubled(items):
    return [2 * item for item in items]


@pytest.mark.scenario("L6")
def test_each_asker_gets_its_own_in_order():
    async def ask_many():
        async with queue(doubled) as made:
            sizes = [1, 7, 4, 0, 30, 2, 2, 11]
            starts = [sum(sizes[:place]) for place in range(len(sizes))]
            asked = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
            found = await asyncio.gather(*(made.ask(items, timeout=5) for items in asked))
            assert found == [doubled(items) for items in asked]
            assert made.depth == 0

    asyncio.run(ask_many())


@pytest.mark.scenario("L9")
def test_passes_are_full_and_shared_between_those_who_wait():
    passes = []

    def noted(items):
        passes.append(items)
        return items

    async def ask_two():
        async with queue(noted) as made:
            await asyncio.gather(made.ask(["long"] * 10, timeout=5), made.ask(["short"] * 2, timeout=5))

    asyncio.run(ask_two())
    assert [len(items) for items in passes] == [4, 4, 4]
    assert passes[0] == ["long", "long", "short", "short"]


def test_a_pass_waits_for_more_when_told_to():
    sizes = []

    async def ask_twice(wait):
        async with queue(lambda items: sizes.append(len(items)) or items, max_wait=wait) as made:
            first = asyncio.create_task(made.ask([1], timeout=5))
            await asyncio.sleep(0.02)
            await asyncio.gather(first, made.ask([2], timeout=5))

    asyncio.run(ask_twice(0.0))
    asyncio.run(ask_twice(0.5))
    assert sizes == [1, 1, 2]


@pytest.mark.scenario("S6")
def test_what_does_not_fit_is_told_to_come_back_and_what_fits_is_answered():
    async def flood():
        release = asyncio.Event()

        def slow(items):
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
            return items

        loop = asyncio.get_running_loop()
        async with queue(slow, max_queue=10) as made:
            taken = asyncio.create_task(made.ask(["a"] * 4, timeout=5))
            await asyncio.sleep(0.05)
            waiting = asyncio.create_task(made.ask(["b"] * 8, timeout=5))
            await asyncio.sleep(0.05)
            with pytest.raises(Overloaded) as refused:
                await made.ask(["c"] * 3, timeout=5)
            assert refused.value.retry_after >= 1
            more = asyncio.create_task(made.ask(["d"] * 2, timeout=5))
            await asyncio.sleep(0)
            assert made.depth == 10
            release.set()
            assert [len(found) for found in await asyncio.gather(taken, waiting, more)] == [4, 8, 2]

    asyncio.run(flood())


@pytest.mark.scenario("S7", "S8")
@pytest.mark.parametrize("leaves", ["by timeout", "by cancelling"])
def test_who_leaves_is_dropped_before_the_model(leaves):
    seen = []

    async def leave():
        release = asyncio.Event()

        def slow(items):
            seen.extend(items)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
            return items

        loop = asyncio.get_running_loop()
        async with queue(slow) as made:
            taken = asyncio.create_task(made.ask(["a"] * 4, timeout=5))
            await asyncio.sleep(0.05)
            if leaves == "by timeout":
                with pytest.raises(TimeoutError):
                    await made.ask(["b"] * 6, timeout=0.05)
            else:
                gone = asyncio.create_task(made.ask(["b"] * 6, timeout=5))
                await asyncio.sleep(0.05)
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)
            assert made.depth == 0
            release.set()
            assert await taken == ["a"] * 4
            assert await made.ask(["c"], timeout=5) == ["c"]

    asyncio.run(leave())
    assert seen == ["a"] * 4 + ["c"]


@pytest.mark.scenario("S12")
def test_only_the_request_at_fault_gets_the_error():
    def picky(items):
        if "bad" in items:
            raise RuntimeError("bad item")
        return doubled(items)

    async def ask_both():
        ends = []
        async with queue(picky, ended=ends.append) as made:
            found = await asyncio.gather(
                made.ask(["x"], timeout=5),
                made.ask(["bad"], timeout=5),
                made.ask(["y"], timeout=5),
                return_exceptions=True,
            )
            assert found[0] == ["xx"]
            assert found[2] == ["yy"]
            assert isinstance(found[1], RuntimeError)
            for _ in range(2):
                with pytest.raises(RuntimeError):
                    await made.ask(["bad"] * 9, timeout=5)
            assert ends.count(False) == 3, "once for each request at fault, however many passes it would have taken"
            assert await made.ask(["z"], timeout=5) == ["zz"]
            assert ends[-1] is True

    asyncio.run(ask_both())


@pytest.mark.scenario("S12")
def test_a_wrong_number_of_results_is_an_error_and_no_answer():
    async def ask():
        async with queue(lambda items: items[:-1]) as made:
            with pytest.raises(RuntimeError, match="3 items went in and 2 results came out"):
                await made.ask([1, 2, 3], timeout=5)

    asyncio.run(ask())
