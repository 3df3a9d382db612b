"""Review over HTTP: pairs of every route reach the queue, the page's calls label them, and no disk stops an answer."""

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import null_server

from flipkd.review.queue import ReviewQueue

KEY = "k" * 32
BEARER = {"authorization": f"Bearer {KEY}"}
FOLDER = Path(__file__).parents[2] / "src" / "flipkd" / "serve"


@pytest.fixture
def queue_file(tmp_path):
    return tmp_path / "queue.db"


def reviewing(queue_file, **settings):
    return null_server(api_key=KEY, review=50.0, queue=str(queue_file), **settings)


def call(server, path, **body):
    return server.request(f"/review/{path}", body, **BEARER)


def stored(queue_file):
    with ReviewQueue(queue_file) as queue:
        return {pair.text2: pair for pair in queue.pairs()}


def test_pairs_to_review_of_every_route_and_sampled_ones_reach_the_queue(queue_file):
    with reviewing(queue_file, share=1.0) as server:
        server.until_ready()
        server.request("/match", {"pairs": [["60", "a"], ["60", " a"], ["150", "sure"]]}, **BEARER)
        server.request("/rerank", {"query": "70", "texts": ["b", "c"]}, **BEARER)
        server.request("/score", {"text_1": "80", "text_2": "d"}, **BEARER)
        server.request("/predict", {"inputs": ["90", "e"]}, **BEARER)
        server.request("/search", {"query": "60", "top_k": 1, "candidates": 1}, **BEARER)
    found = stored(queue_file)
    assert found.keys() == {"a", "b", "c", "d", "e", "sure", "2"}
    assert (found["a"].seen, found["a"].score, found["a"].decision, found["a"].reason) == (2, 60.0, "review", "review")
    assert (found["sure"].decision, found["sure"].reason, found["sure"].matcher) == ("match", "sample", "r1")


def test_review_queue_keeps_an_answered_pair_after_kill_9(queue_file):
    for _ in range(2):
        with reviewing(queue_file) as server, ThreadPoolExecutor(4) as clients:
            server.until_ready()
            seen = list(
                clients.map(
                    lambda n: server.request("/match", {"pairs": [["60", f"t{n}"]]}, **BEARER).status, range(40)
                )
            )
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
        assert seen == [200] * 40
        assert stored(queue_file).keys() == {f"t{n}" for n in range(40)}
    assert {pair.seen for pair in stored(queue_file).values()} == {2}


def test_review_queue_on_a_full_disk_stops_no_answer_and_is_logged_once_a_minute(queue_file):
    with ReviewQueue(queue_file, create=True) as queue:
        pages = queue.connection.execute("PRAGMA page_count").fetchone()[0]
    with reviewing(queue_file, most_pages=pages + 2) as server:
        server.until_ready()
        for number in range(20):
            body = {"pairs": [["60", f"{number} {part} " + "x" * 900] for part in range(10)]}
            answer = server.request("/match", body, **BEARER)
            assert answer.status == 200
            assert {row["decision"] for row in answer.json["results"]} == {"review"}
        server.process.terminate()
        _, errors = server.process.communicate(timeout=20)
    assert len(re.findall("the review queue misses the pairs of requests", errors)) == 1
    assert "the disk is full" in errors


def test_review_page_and_its_calls_exist_with_a_queue_only_and_need_the_key(queue_file, null):
    assert null.request("/review").status == null.request("/review/next", {"annotator": "ann"}).status == 404
    with reviewing(queue_file) as server:
        server.until_ready()
        for path in ("/review", "/review.js"):
            found = server.request(path)
            assert (found.status, KEY in found.text) == (200, False)
            assert "default-src 'none'" in found.headers["content-security-policy"]
        for path in ("next", "vote", "undo"):
            assert server.request(f"/review/{path}", {"annotator": "ann"}).status == 401
        assert "http" not in server.request("/review").text


def test_review_page_script_never_inserts_texts_as_html():
    script = (FOLDER / "review.js").read_text(encoding="utf-8")
    ways = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", 'setAttribute("on')
    assert "textContent" in script
    assert not [way for way in ways if way in script]
    page = (FOLDER / "review.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|style=|<script>", page), "the policy allows neither"


def test_an_annotator_labels_skips_and_undoes(queue_file):
    with reviewing(queue_file) as server:
        server.until_ready()
        server.request("/match", {"pairs": [["60", text] for text in "abc"]}, **BEARER)
        first = call(server, "next", annotator="ann").json
        assert first["progress"] == {"pairs": 3, "done": 0, "own": 0}
        assert call(server, "next", annotator="ann").json == first
        second = call(server, "vote", annotator="ann", key=first["pair"]["key"], label="match").json
        assert second["progress"] == {"pairs": 3, "done": 1, "own": 1}
        third = call(server, "vote", annotator="ann", key=second["pair"]["key"], label="skip").json
        assert third["progress"] == {"pairs": 3, "done": 1, "own": 2}
        again = call(server, "undo", annotator="ann").json
        assert (again["pair"], again["progress"]["own"]) == (second["pair"], 1)
        third = call(server, "vote", annotator="ann", key=second["pair"]["key"], label="no_match").json
        last = call(server, "vote", annotator="ann", key=third["pair"]["key"], label="match").json
        assert (last["pair"], last["progress"]) == (None, {"pairs": 3, "done": 3, "own": 3})
    labels = [(pair.votes["ann"]) for pair in stored(queue_file).values()]
    assert sorted(labels) == [0, 1, 1]


@pytest.mark.parametrize(
    "path, body, status",
    [
        ("next", {}, 422),
        ("next", {"annotator": " "}, 422),
        ("next", {"annotator": "\ud800"}, 422),
        ("next", {"annotator": "a" * 61}, 422),
        ("vote", {"annotator": "ann", "key": "x", "label": "match"}, 422),
        ("vote", {"annotator": "ann", "key": "0" * 64, "label": "maybe"}, 422),
        ("vote", {"annotator": "ann", "key": "0" * 64, "label": "match"}, 404),
    ],
)
def test_review_routes_answer_wrong_bodies_as_errors_of_the_client(review_server, path, body, status):
    found = review_server.request(f"/review/{path}", body, **BEARER)
    assert found.status == status, found.text


def test_review_routes_say_that_a_pair_is_unknown(review_server):
    body = {"annotator": "ann", "key": "0" * 64, "label": "match"}
    found = review_server.request("/review/vote", body, **BEARER)
    assert (found.status, found.json["detail"]) == (404, "the review queue has no pair of this key")
    assert review_server.request("/review/nothing", body, **BEARER).json["detail"].startswith("unknown path; ")


@pytest.fixture(scope="module")
def review_server(tmp_path_factory):
    with reviewing(tmp_path_factory.mktemp("review") / "queue.db") as server:
        yield server.until_ready()
