"""A real matcher in the service: unusual texts take as long as words, and delay others by two batches at most."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from flipkd.matcher import Matcher
from flipkd.serve.limits import Limits
from flipkd.serve.loaded import Loaded
from flipkd.serve.service import Service

UNUSUAL = {
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
SHAPES = {"one text of 1.9 million": (1, 1_900_000, 0.5), "100 texts of 4,700": (100, 4_700, 0.2)}  # seconds of slack


@pytest.fixture
def matcher(make_student):
    return Matcher(*make_student())


@asynccontextmanager
async def service(matcher):
    found = Service(lambda: Loaded(matcher), limits=Limits(), name="n")
    await found.start()
    while found.state != "ready":
        await asyncio.sleep(0.01)
    yield found
    await found.stop()


async def cpu_seconds(found, texts):
    """Measure the CPU seconds of all threads for scoring the texts with a short one."""
    began = time.process_time()
    await found.match([(text, "my pin") for text in texts], until=found.deadline())
    return time.process_time() - began


@pytest.mark.scenario("X15")
@pytest.mark.parametrize("shape", SHAPES)
def test_hostile_texts_take_as_long_as_words(matcher, shape):
    count, size, slack = SHAPES[shape]

    async def measure():
        async with service(matcher) as found:
            plain_texts = [f"{n}" + "my card " * (size // 8) for n in range(count)]
            plain_seconds = await cpu_seconds(found, plain_texts)
            for name, make in UNUSUAL.items():
                seconds = await cpu_seconds(found, [make(size) + f"x{n}" for n in range(count)])
                assert seconds < 4 * plain_seconds + slack, (name, seconds, plain_seconds)

    asyncio.run(measure())


@pytest.mark.scenario("L9")
def test_service_lets_a_short_request_wait_at_most_two_batches(matcher):
    async def send_requests():
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
            assert not any(row.truncated for row in await long), "leading blanks do not count as truncated text"

    asyncio.run(send_requests())
