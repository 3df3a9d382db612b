"""Estimates from a sample: the base rate of a stream of pairs whose truth is known."""

import numpy as np
import pytest
from review_queues import scored

from flipkd.review.estimates import base_rate, groups_of
from flipkd.review.queue import QueuedPair, ReviewQueue, Vote
from flipkd.review.sampling import chosen, pair_key


def labelled_queue(path, seed, share=0.05, count=4000):
    """A queue of a stream with 8 % matches, every pair of it labelled with the truth; returns it and the true share."""
    draw = np.random.default_rng(seed)
    truth = draw.random(count) < 0.08
    score = draw.normal(size=count) + 2.2 * truth
    decision = np.where(score > 2.6, "match", np.where(score > 1.8, "review", "no_match"))
    numbers = seed * count + np.arange(count)
    pairs = [scored(int(number), str(decided)) for number, decided in zip(numbers, decision, strict=True)]
    queue = ReviewQueue(path, create=True)
    queue.add(chosen(pairs, share=share), matcher="m")
    known = {pair_key(pair.text1, pair.text2): int(label) for pair, label in zip(pairs, truth, strict=True)}
    queue.add_votes([Vote(pair.key, "ann", known[pair.key]) for pair in queue.pairs()], source="test")
    return queue, truth.mean()


def test_base_rate_is_unbiased_and_its_standard_error_is_honest(tmp_path):
    errors, estimates = [], []
    for seed in range(12):
        queue, true = labelled_queue(tmp_path / f"{seed}.db", seed)
        with queue:
            share, error = base_rate(groups_of(queue.pairs()))
            labels = [label for pair in queue.pairs() for label in pair.labels]
        errors.append(abs(share - true) / error)
        estimates.append(share - true)
        assert np.mean(labels) > 2 * true, "the share in the queue itself is no estimate"
    assert abs(np.mean(estimates)) < 0.005
    assert 0.85 <= np.mean(np.array(errors) < 2) <= 1
    assert np.mean(np.array(errors) < 0.1) < 0.5, "the standard error is not far too large"


def test_no_estimate_without_a_sample_or_with_a_group_without_labels(tmp_path):
    with ReviewQueue(tmp_path / "q.db", create=True) as queue:
        queue.add(chosen([scored(1), scored(2)], share=0), matcher="m")
        queue.add_votes([Vote(pair.key, "ann", 1) for pair in queue.pairs()], source="test")
        [group] = groups_of(queue.pairs())
        assert (group.decision, group.reason, group.represents, group.labelled, group.matches) == (
            "review",
            "review",
            2,
            2,
            1,
        )
        assert base_rate([group]) is None, "nothing is known of the sure pairs"
        queue.add(chosen([scored(3, "match")], share=1.0), matcher="m")
        assert base_rate(groups_of(queue.pairs())) is None


def test_a_group_counts_pairs_as_often_as_they_were_seen(tmp_path):
    with ReviewQueue(tmp_path / "q.db", create=True) as queue:
        for _ in range(3):
            queue.add(chosen([scored(1, "match")], share=1.0), matcher="m")
        queue.add(chosen([scored(2, "match")], share=1.0), matcher="m")
        queue.add_votes([Vote(pair.key, "ann", int(pair.seen == 3)) for pair in queue.pairs()], source="test")
        [group] = groups_of(queue.pairs())
    assert (group.pairs, group.represents) == (2, 4)
    assert group.matches == pytest.approx(0.75)
    share, error = base_rate([group])
    assert share == pytest.approx(0.75)
    assert error > 0.2


def queued(number, decision, label, *, sampled):
    """A pair of a queue with one label."""
    return QueuedPair(
        key=str(number),
        text1="a",
        text2="b",
        score=0.0,
        probability=0.5,
        decision=decision,
        teacher_score=None,
        matcher="m",
        reason="review" if decision == "review" else "sample",
        sampled=sampled,
        seen=1,
        first_seen="",
        last_seen="",
        votes={"ann": int(label)},
    )


def test_the_standard_error_of_two_sure_groups_is_that_of_a_simple_sample():
    pairs = [queued(n, "match" if n % 2 else "no_match", n % 2, sampled=0.01) for n in range(100)]
    share, error = base_rate(groups_of(pairs))
    assert share == 0.5
    # How many of the 100 sampled pairs are of which group is as uncertain as the share of heads in 100 throws.
    assert error == pytest.approx(np.sqrt(0.25 / 100), rel=0.05)


def test_the_standard_error_is_the_spread_of_the_estimates_where_few_pairs_are_sampled():
    draw, found = np.random.default_rng(0), []
    for _ in range(200):
        decision = draw.choice(["match", "no_match", "review"], 4000, p=[0.3, 0.6, 0.1])
        label = draw.random(4000) < np.select([decision == "match", decision == "no_match"], [0.95, 0.02], 0.4)
        kept = np.flatnonzero((decision == "review") | (draw.random(4000) < 0.05))
        pairs = [queued(n, str(decision[n]), label[n], sampled=1.0 if decision[n] == "review" else 0.05) for n in kept]
        share, error = base_rate(groups_of(pairs))
        found.append((share - label.mean(), error))
    off, errors = np.array(found).T
    assert abs(off.mean()) < 3 * off.std() / np.sqrt(200)
    assert errors.mean() == pytest.approx(off.std(), rel=0.15)
