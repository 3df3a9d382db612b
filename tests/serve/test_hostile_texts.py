"""A real matcher behind the queue: odd texts cost what words of the same size cost, and another asker waits a pass or two."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from flipkd.matcher import Matcher
from flipkd.serve.limits import Limits
from flipkd.serve.service import Loaded, Service

ODD = {
    "blanks": lambda n: " " * n,
    "newlines": lambda n: "\n" * n,
    "zero width": lambda n: "\u200b" * n,
    "variation selectors": lambda n: "\U000e0100" * n,
    "combining marks": lambda n: "\u0301" * n,
    "one word": lambda n: "a" * n,
    "control tokens": lambda n: "<think>" * (n // 7),
    "beginnings of control tokens": lambda n: "<think>" + "<" * n,
    "signs of no font": lambda n: "\U0010fffd" * n,
}
SHAPES = {"one text of 1.9 million": (1, 1_900_000), "400 texts of 4,700": (400, 4_700)}


@pytest.fixture
def matcher(make_student):
    return Matcher(*make_student())


@asynccontextmanager
async def service(matcher):
    found = Service(lambda: Loaded(matcher), limits=Limits(), name="n", revision="r")
    await found.start()
    while found.state != "ready":
        await asyncio.sleep(0.01)
    yield found
    await found.stop()


async def spent(found, texts):
    """CPU seconds of all threads for the texts against a short one."""
    began = time.process_time()
    await found.match([(text, "my pin") for text in texts], until=found.deadline())
    return time.process_time() - began


@pytest.mark.scenario("X15")
@pytest.mark.parametrize("shape", SHAPES)
def test_odd_texts_cost_what_words_cost(matcher, shape):
    count, size = SHAPES[shape]

    async def measure():
        async with service(matcher) as found:
            words = [f"{n}" + "my card " * (size // 8) for n in range(count)]
            usual = await spent(found, words)
            for name, made in ODD.items():
                odd = await spent(found, [made(size) + f"x{n}" for n in range(count)])
                assert odd < 4 * usual + 0.5, (name, odd, usual)

    asyncio.run(measure())


@pytest.mark.scenario("L9")
def test_another_asker_waits_a_pass_or_two(matcher):
    async def ask():
        async with service(matcher) as found:
            queue = found.queues["pairs"]
            long = asyncio.create_task(
                found.match([(" " * 4_700 + f"x{n}", "my pin") for n in range(400)], until=found.deadline())
            )
            while not queue.passes:
                await asyncio.sleep(0.001)
            before = queue.passes
            await found.match([("my card", "my pin")], until=found.deadline())
            assert queue.passes - before <= 2
            assert not long.done()
            assert not any(row.truncated for row in await long), "blanks are no part of a text that is left out"

    asyncio.run(ask())
