"""flipkd match --review_queue: which pairs reach the queue, once each whatever stops the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import flipkd

from flipkd import Matcher
from flipkd.commands import match, match_review
from flipkd.review.queue import ReviewQueue
from flipkd.student.contract import CascadeBand

TEXTS = [f"{word} number {number}" for number in range(5) for word in ("card", "pin", "loan", "transfer")]


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"text1": text, "text2": "my card"} for text in [*TEXTS, TEXTS[0] + " "]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def everything(tiny_matcher):
    """A matcher that decides every pair as `review`."""
    return tiny_matcher(threshold=1e9, review_threshold=-1e9)


def stored(path):
    with ReviewQueue(path) as queue:
        return {pair.text1: pair for pair in queue.pairs()}


def test_match_adds_pairs_to_review_and_the_sampled_share_with_their_results(tiny_matcher, pairs, tmp_path):
    matcher, queue = tiny_matcher(), tmp_path / "q.db"
    done = flipkd("match", "--matcher", matcher, pairs, "--review_queue", queue, "--review_sample", 0.5)
    assert done.code == 0, done.err
    rows = {row["text1"]: row for row in map(json.loads, done.out.splitlines())}
    found = stored(queue)
    assert f"{queue}: {sum(pair.seen for pair in found.values())} of 21 pairs are for people to label" in done.err
    review = {text for text in TEXTS if rows[text]["decision"] == "review"}
    assert 0 < len(review) < len(TEXTS)
    assert review <= found.keys()
    assert 0 < len(found.keys() - review) < len(TEXTS) - len(review)
    for text, pair in found.items():
        assert (pair.score, pair.decision) == (rows[text]["score"], rows[text]["decision"])
        assert (pair.reason, pair.sampled) == (("review", 1.0) if text in review else ("sample", 0.5))
        assert pair.matcher == Matcher.from_pretrained(matcher).fingerprint[:12]
        assert pair.teacher_score is None
        assert pair.seen == (2 if text == TEXTS[0] else 1)
    again = flipkd("match", "--matcher", matcher, pairs, "--review_queue", queue, "--review_sample", 0.5)
    assert again.out == done.out
    assert stored(queue) == found, "the same command adds nothing"


def test_match_of_one_pair_adds_it_to_the_review_queue_and_warns_of_a_matcher_without_band(
    tiny_matcher, everything, tmp_path
):
    one = ("--text1", "card", "--text2", "pin", "--review_queue", tmp_path / "q.db")
    for _ in range(2):
        assert flipkd("match", "--matcher", everything, *one).code == 0
    assert stored(tmp_path / "q.db")["card"].seen == 2
    done = flipkd("match", "--matcher", tiny_matcher(review_threshold=None), *one)
    assert "has no review band" in done.err


@pytest.mark.scenario("B2")
def test_stopped_match_adds_each_pair_once(everything, pairs, tmp_path, monkeypatch):
    queue, output = tmp_path / "q.db", tmp_path / "o.csv"
    arguments = ("match", "--matcher", everything, pairs, "--output", output, "--review_queue", queue)
    monkeypatch.setattr(match, "BLOCK", 4)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    add, stops = match_review.MatchReview.add, [("before", 4), ("after", 8), ("after", 16)]

    def stopped(self, matcher, rows, *, first):
        if ("before", first) in stops:
            stops.remove(("before", first))
            raise KeyboardInterrupt
        add(self, matcher, rows, first=first)
        if ("after", first) in stops:  # the queue has the block, the output has not
            stops.remove(("after", first))
            raise KeyboardInterrupt

    monkeypatch.setattr(match_review.MatchReview, "add", stopped)
    assert [flipkd(*arguments).code for _ in range(4)] == [75, 75, 75, 0]
    assert {text: pair.seen for text, pair in stored(queue).items()} == {
        text: 1 + (text == TEXTS[0]) for text in TEXTS
    }


@pytest.mark.scenario("B5")
def test_full_disk_of_the_queue_ends_match_with_an_error_and_resumes(everything, pairs, tmp_path, monkeypatch):
    queue, output = tmp_path / "q.db", tmp_path / "o.csv"
    arguments = ("match", "--matcher", everything, pairs, "--output", output, "--review_queue", queue)
    opened = match_review.ReviewQueue

    def on_a_full_disk(path, *, create):
        found = opened(path, create=create)
        pages = found.connection.execute("PRAGMA page_count").fetchone()[0]
        found.connection.execute(f"PRAGMA max_page_count = {pages}")
        return found

    monkeypatch.setattr(match_review, "ReviewQueue", on_a_full_disk)
    monkeypatch.setattr(match, "BLOCK", 4)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    long = [{"text1": f"{text} " + "x" * 3000, "text2": "my card"} for text in TEXTS]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in long), encoding="utf-8")
    done = flipkd(*arguments)
    assert done.code == 5, done.err
    assert f"{queue}: the disk is full" in done.err
    assert not output.exists()
    monkeypatch.setattr(match_review, "ReviewQueue", opened)
    assert flipkd(*arguments).code == 0
    assert {pair.seen for pair in stored(queue).values()} == {1}
    assert len(stored(queue)) == len(TEXTS)


def test_match_refuses_a_review_queue_that_is_none_before_the_model_loads(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(match, "Scorer", None)
    (tmp_path / "q.db").write_text("text1,text2\n" * 50)
    done = flipkd("match", "--matcher", "none", pairs, "--review_queue", tmp_path / "q.db")
    assert (done.code, "is no review queue" in done.err) == (4, True)


def test_match_review_stores_the_kept_teacher_whose_sure_opposite_is_a_disagreement(
    with_teacher, pair_files, tmp_path
):
    queue = tmp_path / "q.db"
    done = flipkd(
        "match", "--matcher", with_teacher, pair_files["test"], "--review_queue", queue, "--review_sample", 1
    )
    assert done.code == 0, done.err
    matcher = Matcher.from_pretrained(with_teacher)
    found = list(stored(queue).values())
    expected = matcher.teacher_scores([(pair.text1, pair.text2) for pair in found])
    assert [pair.teacher_score for pair in found] == pytest.approx(expected.tolist(), abs=1e-4)
    assert {pair.reason for pair in found} == {"sample"}

    band = CascadeBand(low=-0.5, high=0.5, slope=1000.0, intercept=0.0)
    contract = matcher.contract.model_copy(update={"cascade": band})
    banded = Matcher(matcher.student, contract, teacher=matcher.teacher)
    teacher = np.array([-0.9, -0.1, 0.1, 0.9])
    by_match = match_review._disagreements(banded, teacher, ["match"] * 4)
    by_none = match_review._disagreements(banded, teacher, ["no_match"] * 4)
    assert by_match.tolist() == [True, False, False, False]
    assert by_none.tolist() == [False, False, False, True]
