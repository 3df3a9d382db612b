"""`flipkd serve` as a user starts it: a real matcher behind a real server, and starts that are refused."""

import json
import socket
import subprocess
import sys

import pytest
from commands import flipkd
from servers import running

from flipkd.matcher import Matcher

PAIRS = [
    ("how do I reset my card pin", "can I change the pin of my card"),
    ("where is my transfer", "close my account"),
]


def served(*words):
    return running(sys.executable, "-m", "flipkd", "serve", "--port", 0, *words, first_line_on="stderr")


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


def test_bad_starts_are_refused_before_anything_is_loaded(trained, tmp_path):
    start = ("serve", "--matcher", trained, "--port", 0)
    open_to_all = flipkd(*start, "--host", "0.0.0.0")
    assert open_to_all.code == 7
    assert "--api_key_file" in open_to_all.err
    nowhere = flipkd("serve", "--matcher", tmp_path / "nowhere")
    assert (nowhere.code, "no such folder" in nowhere.err) == (4, True)
    for content, word in (("short", "at least 16"), ("two words " * 4, "holds no key"), (None, "cannot be read")):
        key = tmp_path / "key"
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_text(content)
        refused = flipkd(*start, "--api_key_file", key)
        assert refused.code == 4
        assert word in refused.err
    elsewhere = flipkd(*start, "--host", "no.such.host.invalid", "--insecure")
    assert elsewhere.code == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = flipkd("serve", "--matcher", trained, "--port", taken.getsockname()[1])
        assert busy.code == 5
        assert "choose another --port" in busy.err


def test_a_base_model_that_has_moved_ends_the_server_with_what_to_do(trained, tmp_path):
    with served("--matcher", trained, "--base_model", tmp_path / "moved") as server:
        assert server.process.wait(60) == 4
        assert "--base_model" in server.process.stderr.read()


def test_without_the_extra_it_says_what_to_install(trained):
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from flipkd.cli import main\n"
        f"sys.argv = ['flipkd', 'serve', '--matcher', {json.dumps(str(trained))}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "flipkd[serve]" in done.stderr
