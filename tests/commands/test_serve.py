"""`flipkd serve` as a user starts it: a real matcher behind a real server, and starts that are refused."""

import sys

import pytest
from command_line import flipkd
from servers import running

from flipkd.matcher import Matcher

PAIRS = [
    ("how do I reset my card pin", "can I change the pin of my card"),
    ("where is my transfer", "close my account"),
]


def served(*words):
    return running(sys.executable, "-m", "flipkd", "serve", "--port", 0, *words, first_line_on="stderr")


@pytest.mark.slow
def test_the_server_says_what_the_matcher_says(trained, tmp_path):
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    bearer = {"authorization": "Bearer 0123456789abcdef"}
    matcher = Matcher.from_pretrained(trained)
    with served("--matcher", trained, "--api_key_file", key, "--batch_size", 8) as server:
        server.until_ready()
        assert server.ask("/info").status == 401
        info = server.ask("/info", **bearer).json
        assert info["model_id"] == "run"
        assert info["threshold"] == pytest.approx(matcher.threshold)
        rows = server.ask("/match", {"pairs": PAIRS}, **bearer).json["results"]
        assert [row["score"] for row in rows] == pytest.approx(matcher.predict(PAIRS).tolist(), abs=1e-5)
        assert [row["probability"] for row in rows] == pytest.approx(matcher.predict_proba(PAIRS).tolist(), abs=1e-5)
        assert [row["decision"] for row in rows] == matcher.decide(PAIRS)
        query, documents = PAIRS[0][0], [text for pair in PAIRS for text in pair][1:]
        found = server.ask("/rerank", {"query": query, "texts": documents, "raw_scores": True}, **bearer).json
        expected = matcher.rank(query, documents)
        assert [row["index"] for row in found] == [row["corpus_id"] for row in expected]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-5)
        assert info["index_size"] is None
        assert "no index is served" in server.ask("/search", {"query": "a"}, **bearer).json["detail"]
        assert "no vectors of single ones" in server.ask("/embed", {"inputs": "a"}, **bearer).json["detail"]
        server.process.terminate()
        assert server.process.wait(10) == 0


@pytest.mark.scenario("S14")
def test_a_base_model_that_has_moved_ends_the_server_with_what_to_do(trained, tmp_path):
    done = flipkd("serve", "--port", 0, "--matcher", trained, "--base_model", tmp_path / "moved")
    assert done.code == 4
    assert "--base_model" in done.err
