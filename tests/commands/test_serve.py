"""`flipkd serve` with a real matcher, and starts that are refused."""

import sys

import pytest
from command_line import flipkd
from servers import running

from flipkd.matcher import Matcher
from flipkd.review.queue import ReviewQueue

PAIRS = [
    ("how do I reset my card pin", "can I change the pin of my card"),
    ("where is my transfer", "close my account"),
]


def running_server(*arguments):
    return running(sys.executable, "-m", "flipkd", "serve", "--port", 0, *arguments, first_line_on="stderr")


def test_server_returns_the_results_of_the_matcher(trained, tmp_path):
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    bearer = {"authorization": "Bearer 0123456789abcdef"}
    matcher = Matcher.from_pretrained(trained)
    queue = ("--review_queue", tmp_path / "queue.db", "--review_sample", 1)
    with running_server("--matcher", trained, "--api_key_file", key, "--batch_size", 8, *queue) as server:
        server.until_ready()
        assert server.request("/info").status == 401
        info = server.request("/info", **bearer).json
        assert info["model_id"] == "run"
        assert info["threshold"] == pytest.approx(matcher.threshold)
        rows = server.request("/match", {"pairs": PAIRS}, **bearer).json["results"]
        assert [row["score"] for row in rows] == pytest.approx(matcher.predict(PAIRS).tolist(), abs=1e-5)
        assert [row["probability"] for row in rows] == pytest.approx(matcher.predict_proba(PAIRS).tolist(), abs=1e-5)
        assert [row["decision"] for row in rows] == matcher.decide(PAIRS)
        query, documents = PAIRS[0][0], [text for pair in PAIRS for text in pair][1:]
        found = server.request("/rerank", {"query": query, "texts": documents, "raw_scores": True}, **bearer).json
        expected = matcher.rank(query, documents)
        assert [row["index"] for row in found] == [row["corpus_id"] for row in expected]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-5)
        assert info["index_size"] is None
        assert "this server has no index" in server.request("/search", {"query": "a"}, **bearer).json["detail"]
        assert "no vectors of single texts" in server.request("/embed", {"inputs": "a"}, **bearer).json["detail"]
        server.process.terminate()
        assert server.process.wait(10) == 0
        log = server.process.stderr.read()
        assert "the model is loaded; requests are accepted" in log
        assert f"{trained} has no review band" in log
    with ReviewQueue(tmp_path / "queue.db") as queue:
        found = {(pair.text1, pair.text2): pair for pair in queue.pairs()}
    assert found.keys() == {*PAIRS, *((query, text) for text in documents)}
    assert {pair.matcher for pair in found.values()} == {info["model_sha"]} == {matcher.fingerprint[:12]}


@pytest.mark.scenario("X11")
def test_review_queue_is_refused_where_other_machines_could_read_it_without_a_key(trained, tmp_path):
    queue = ("--review_queue", tmp_path / "queue.db")
    done = flipkd("serve", "--matcher", trained, "--host", "0.0.0.0", "--port", 0, "--insecure", *queue)
    assert (done.code, "give --api_key_file, or leave --review_queue out" in done.err) == (7, True)
    assert not (tmp_path / "queue.db").exists()


@pytest.mark.scenario("S14")
def test_missing_base_model_ends_the_server_with_advice(trained, tmp_path):
    done = flipkd("serve", "--port", 0, "--matcher", trained, "--base_model", tmp_path / "moved")
    assert done.code == 4
    assert "--base_model" in done.err
