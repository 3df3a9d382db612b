"""ReviewQueue: duplicates merged, nothing acknowledged lost, repeated batches and votes counted once, a full disk."""

import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
from review_queues import filled_queue, key_of, scored, vote

from flipkd.errors import ResourceError
from flipkd.review.queue import ReviewQueue, Vote
from flipkd.review.sampling import ScoredPair, chosen

TESTS = Path(__file__).parents[1]


def test_queue_merges_duplicates_with_the_latest_result_and_the_larger_share(tmp_path):
    with ReviewQueue(tmp_path / "q.db", create=True) as queue:
        queue.add(chosen([scored(1, "match", 0.9)], share=1.0), matcher="m1")
        spaced = ScoredPair(" left  1", "right 1\u00a0", 0.2, 0.6, "review", teacher_score=0.7)
        queue.add(chosen([spaced], share=0), matcher="m2")
        queue.add(chosen([scored(1, "match", 0.95)], share=1.0), matcher="m3")
        [pair] = queue.pairs()
    assert (pair.text1, pair.text2, pair.seen) == ("left 1", "right 1", 3)
    assert (pair.probability, pair.decision, pair.matcher, pair.teacher_score) == (0.95, "match", "m3", 0.7)
    assert (pair.reason, pair.sampled) == ("sample", 1.0)
    assert pair.first_seen <= pair.last_seen


def test_queue_counts_a_pair_seen_as_sample_and_to_review_as_to_review(tmp_path):
    with ReviewQueue(tmp_path / "q.db", create=True) as queue:
        number = next(n for n in range(1000) if chosen([scored(n, "match")], share=0.05))
        queue.add(chosen([scored(number, "match")], share=0.05), matcher="m1")
        assert queue.pairs()[0].weight == pytest.approx(20)
        queue.add(chosen([scored(number)], share=0.05), matcher="m1")
        queue.add(chosen([scored(number, "match")], share=0.05), matcher="m1")
        [pair] = queue.pairs()
    assert (pair.reason, pair.sampled, pair.weight) == ("review", 1.0, 3.0)


def test_queue_keeps_nothing_of_a_write_that_is_interrupted(tmp_path):
    def votes():
        yield Vote(key_of(1), "ann", 1)
        raise KeyboardInterrupt

    with filled_queue(tmp_path / "q.db") as queue:
        with pytest.raises(KeyboardInterrupt):
            queue.add_votes(votes(), source="test")
        assert not any(pair.votes for pair in queue.pairs())
        assert vote(queue, "ann", {1: 1})["new"] == 1


def test_queue_adds_a_batch_once(tmp_path):
    choices = chosen([scored(1), scored(2)], share=0)
    with ReviewQueue(tmp_path / "q.db", create=True) as queue:
        assert queue.add(choices, matcher="m", batch="run:0")
        assert not queue.add(choices, matcher="m", batch="run:0")
        assert queue.add(choices, matcher="m", batch="run:2")
        assert [pair.seen for pair in queue.pairs()] == [2, 2]


def test_queue_add_votes_replaces_those_of_an_annotator_and_repeated_ones_change_nothing(tmp_path):
    with filled_queue(tmp_path / "q.db") as queue:
        assert vote(queue, "ann", {1: 1, 2: 0, 3: None, 99: 1}) == {"new": 3, "changed": 0, "equal": 0, "unknown": 1}
        assert vote(queue, "ann", {1: 1, 2: 1, 3: None}) == {"new": 0, "changed": 1, "equal": 2, "unknown": 0}
        assert vote(queue, "bob", {1: 0})["new"] == 1
        found = {pair.key: pair.votes for pair in queue.pairs() if pair.votes}
        labelled = dict(queue.connection.execute("SELECT key, labelled FROM pairs WHERE labelled").fetchall())
    assert found == {key_of(1): {"ann": 1, "bob": 0}, key_of(2): {"ann": 1}, key_of(3): {"ann": None}}
    assert labelled == {key_of(1): 2, key_of(2): 1}


@pytest.mark.parametrize("text", ["a\0b", "日本 😀", "two\nlines", "'; DROP TABLE pairs; --", "x" * 100_000])
def test_queue_returns_texts_unchanged(tmp_path, text):
    with ReviewQueue(tmp_path / "q.db", create=True) as queue:
        queue.add(chosen([ScoredPair(text, "b", 0.0, 0.5, "review")], share=0), matcher="m")
        queue.add_votes([Vote(queue.pairs()[0].key, text[:100], 1)], source="test")
        [pair] = queue.pairs()
    assert (pair.text1, pair.votes) == (text, {text[:100]: 1})


def test_queue_on_a_full_disk_raises_one_clear_error_and_keeps_what_was_added(tmp_path):
    with filled_queue(tmp_path / "q.db") as queue:
        pages = queue.connection.execute("PRAGMA page_count").fetchone()[0]
        queue.connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then fails as on a full disk
        many = chosen([scored(n) for n in range(100, 2000)], share=0)
        with pytest.raises(ResourceError, match="the disk is full"):
            queue.add(many, matcher="m", batch="b")
        assert len(queue.pairs()) == 10
        queue.connection.execute("PRAGMA max_page_count = 100000")
        assert queue.add(many, matcher="m", batch="b"), "the batch that failed is not marked as added"


ADDER = """
import itertools, sys
sys.path.insert(0, sys.argv[2])
from review_queues import key_of, scored
from flipkd.review.queue import ReviewQueue, Vote
from flipkd.review.sampling import chosen
queue = ReviewQueue(sys.argv[1], create=True)
for number in itertools.count():
    queue.add(chosen([scored(number)], share=0), matcher="m", batch=str(number))
    queue.add_votes([Vote(key_of(number), "ann", number % 2)], source="test")
    print(number, flush=True)
"""


def test_queue_loses_nothing_that_was_acknowledged_before_a_kill(tmp_path):
    path, acknowledged = tmp_path / "q.db", -1
    for _ in range(3):
        command = [sys.executable, "-c", ADDER, str(path), str(TESTS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout:
                if int(line) >= acknowledged + 20:
                    break
            child.kill()
            acknowledged = max(int(line), *map(int, child.stdout.read().split()), acknowledged)
        with ReviewQueue(path) as queue:
            found = {pair.key: pair for pair in queue.pairs()}
            for number in range(acknowledged + 1):
                assert found[key_of(number)].seen == 1
                assert found[key_of(number)].votes == {"ann": number % 2}
            assert queue.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def add_many(path, start):
    with ReviewQueue(path, create=True) as queue:
        for number in range(start, start + 30):
            queue.add(chosen([scored(number), scored(7)], share=0), matcher="m")


def test_queue_is_written_by_processes_at_the_same_time(tmp_path):
    path = tmp_path / "q.db"
    children = [get_context("fork").Process(target=add_many, args=(path, start)) for start in (100, 200, 300)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    with ReviewQueue(path) as queue:
        seen = {pair.key: pair.seen for pair in queue.pairs()}
    assert len(seen) == 91
    assert seen[key_of(7)] == 90
