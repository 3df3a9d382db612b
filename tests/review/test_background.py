"""ReviewThread: an answer waits for the disk at most a moment, and a queue that fails is logged once a minute."""

import asyncio
import sqlite3
import time

import pytest
from review_queues import scored

from flipkd.errors import ResourceError
from flipkd.review import background
from flipkd.review.background import ReviewThread
from flipkd.review.queue import ReviewQueue


@pytest.fixture
def review(tmp_path):
    review = ReviewThread(ReviewQueue(tmp_path / "q.db", create=True), share=0.0)
    yield review
    review.close()


def added(review, *numbers):
    async def add():
        await asyncio.gather(*(review.add([scored(number)], matcher="m") for number in numbers))

    asyncio.run(add())


def test_pairs_are_on_the_disk_when_add_returns(review):
    added(review, 1, 2, 3)
    other = sqlite3.connect(review.queue.path)
    assert other.execute("SELECT count(*) FROM pairs").fetchone() == (3,)
    other.close()


def test_review_thread_on_a_slow_disk_delays_an_answer_by_a_moment_only_and_loses_nothing(review, monkeypatch):
    monkeypatch.setattr(background, "WAIT", 0.05)
    add = review.queue.add
    monkeypatch.setattr(review.queue, "add", lambda *given, **named: (time.sleep(0.4), add(*given, **named)))

    async def answered():
        start = time.monotonic()
        await review.add([scored(1)], matcher="m")
        waited = time.monotonic() - start
        await review.call(lambda: None)  # the write before it is finished
        return waited

    assert asyncio.run(answered()) < 0.3
    assert len(review.queue.pairs()) == 1


def test_review_thread_drops_and_counts_more_writes_than_the_disk_takes(review, monkeypatch, caplog):
    monkeypatch.setattr(background, "MOST_WAITING", 2)
    monkeypatch.setattr(background, "WAIT", 0.01)
    add = review.queue.add
    monkeypatch.setattr(review.queue, "add", lambda *given, **named: (time.sleep(0.1), add(*given, **named)))

    async def add_twice():
        await asyncio.gather(*(review.add([scored(number)], matcher="m") for number in range(6)))
        await review.call(lambda: None)
        await review.add([scored(7)], matcher="m")  # the queue is empty again
        await review.call(lambda: None)

    asyncio.run(add_twice())
    assert len(review.queue.pairs()) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the review queue misses the pairs of requests with 1 pairs in all, which were answered: the disk is too slow"
    ]


def test_errors_are_logged_once_a_minute_with_the_number_of_pairs(review, monkeypatch, caplog):
    def fail(*_, **__):
        raise ResourceError("the disk is full")

    monkeypatch.setattr(review.queue, "add", fail)
    added(review, 1, 2, 3)
    assert len(caplog.records) == 1
    monkeypatch.setattr(background, "MINUTE", 0.0)
    added(review, 4)
    assert "requests with 3 pairs in all" in caplog.messages[1], "two that were not logged, and this one"


def test_review_thread_finishes_the_write_of_a_client_that_disconnects(review):
    async def cancelled():
        task = asyncio.create_task(review.add([scored(1)], matcher="m"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await review.call(lambda: None)

    asyncio.run(cancelled())
    assert len(review.queue.pairs()) == 1
