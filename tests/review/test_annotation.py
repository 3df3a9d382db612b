"""Leases: two annotators get different pairs, a lease ends, a pair gets as many votes as it needs, undo gives a pair back."""

import time

import pytest
from review_queues import filled_queue, key_of, vote

from flipkd.review.annotation import NEXT, Annotation


@pytest.fixture
def queue(tmp_path):
    with filled_queue(tmp_path / "q.db", count=3) as queue:
        yield queue


def test_annotation_gives_two_annotators_different_pairs_until_a_lease_ends(queue):
    annotation = Annotation(queue, lease=0.3)
    keys = [annotation.next_pair(name)["key"] for name in ("ann", "bob", "cat")]
    assert len(set(keys)) == 3
    assert annotation.next_pair("ann")["key"] == keys[0]
    assert annotation.next_pair("dan") is None
    time.sleep(0.35)
    assert annotation.next_pair("dan")["key"] in keys
    assert annotation.vote("ann", keys[0], 1), "a late label is stored too"


def test_annotation_gives_a_pair_the_votes_that_it_needs_and_no_more(queue):
    annotation = Annotation(queue, votes=2)
    first = annotation.next_pair("ann")["key"]
    assert annotation.next_pair("bob")["key"] == first
    assert annotation.next_pair("cat")["key"] != first
    annotation.vote("ann", first, 1)
    assert annotation.next_pair("ann")["key"] != first
    annotation.vote("bob", first, 0)
    assert annotation.progress("bob") == {"pairs": 3, "done": 1, "own": 1}
    for name in ("ann", "bob", "cat"):
        while pair := annotation.next_pair(name):
            assert pair["key"] != first
            annotation.vote(name, pair["key"], 1)
    assert [len(pair.labels) for pair in queue.pairs()] == [2, 2, 2]


def test_annotation_gives_a_skipped_pair_to_another_annotator(queue):
    annotation = Annotation(queue)
    while pair := annotation.next_pair("ann"):
        annotation.vote("ann", pair["key"], None)
    assert annotation.progress("ann") == {"pairs": 3, "done": 0, "own": 3}
    assert annotation.next_pair("bob") is not None


def test_annotation_undo_deletes_own_labels_of_the_page_one_by_one(queue):
    annotation = Annotation(queue)
    vote(queue, "ann", {0: 1})  # imported
    given = []
    while pair := annotation.next_pair("ann"):
        annotation.vote("ann", pair["key"], 1)
        given.append(pair["key"])
    assert [annotation.undo("ann")["key"], annotation.undo("ann")["key"]] == given[::-1]
    assert annotation.undo("ann") is annotation.undo("bob") is None
    assert {pair.key: pair.votes for pair in queue.pairs() if pair.votes} == {key_of(0): {"ann": 1}}
    assert annotation.next_pair("bob")["key"] != given[0], "the undone pair is leased to ann"


def test_annotation_next_pair_is_found_by_the_index_and_without_sorting(queue):
    known = {"annotator": "ann", "votes": 1}
    plan = " ".join(row["detail"] for row in queue.connection.execute(f"EXPLAIN QUERY PLAN {NEXT}", known))
    assert "pairs_to_label" in plan
    assert "TEMP B-TREE" not in plan
