"""The server as its clients meet it: whole answers to the right asker, bounds that hold, and an orderly end."""

import html
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from servers import null_server


@pytest.fixture(scope="module")
def null():
    """A quick server with small limits."""
    limits = {"max_items": 50, "max_queue": 64, "batch_size": 4, "max_body_bytes": 20_000}
    with null_server(**limits, timeout=2.0, header_timeout=0.5, body_timeout=0.5) as server:
        yield server.until_ready()


def test_every_shape_gets_the_same_scores(null):
    own = null.ask("/match", {"pairs": [["7", "a"], ["150", "b"]]}).json
    assert [row["score"] for row in own["results"]] == [7, 150]
    assert [row["decision"] for row in own["results"]] == ["no_match", "match"]
    assert (own["model"], own["revision"]) == ("null", "r1")
    probabilities = [row["probability"] for row in own["results"]]
    vllm = null.ask("/v1/score", {"text_1": ["7", "150"], "text_2": ["a", "b"]}).json
    assert [row["score"] for row in vllm["data"]] == probabilities
    tei = null.ask("/rerank", {"query": "7", "texts": ["a", "b"], "raw_scores": True, "return_text": True}).json
    assert tei == [{"index": 0, "score": 7.0, "text": "a"}, {"index": 1, "score": 7.0, "text": "b"}]
    cohere = null.ask("/v2/rerank", {"query": "7", "documents": ["a", {"text": "b"}], "top_n": 1}).json
    assert cohere["results"] == [{"index": 0, "relevance_score": probabilities[0]}]
    vectors = [[1.0, 0.0], [2.0, 0.0]]
    assert null.ask("/embed", {"inputs": ["a", "bb"]}).json == vectors
    assert [row["embedding"] for row in null.ask("/v1/embeddings", {"input": ["a", "bb"]}).json["data"]] == vectors


def test_search_judges_the_nearest_and_keeps_their_order_in_ties(null):
    found = null.ask("/search", {"query": "12", "top_k": 3}).json
    assert [row["corpus_id"] for row in found["results"]] == [2, 0, 1]
    assert found["results"][0] == {
        "corpus_id": 2, "similarity": 1.0, "score": 12.0, "probability": found["results"][0]["probability"],
        "decision": "no_match", "truncated": False, "text": "2", "id": 2,
    }  # fmt: skip
    assert len(null.ask("/search", {"query": "12", "top_k": 40}).json["results"]) == 9
    for body, word in (
        ({"query": "12", "top_k": 0}, "top_k"),
        ({"query": "12", "candidates": 51}, "51 items"),
        ({"query": " "}, "empty"),
    ):
        refused = null.ask("/search", body)
        assert refused.status == 422
        assert word in refused.json["detail"]


def test_long_texts_are_told_of_or_refused(null):
    assert [
        row["truncated"] for row in null.ask("/match", {"pairs": [["1", "long"], ["1", "b"]]}).json["results"]
    ] == [
        True,
        False,
    ]
    refused = null.ask("/rerank", {"query": "1", "texts": ["b", "long"], "truncate": False})
    assert refused.status == 422
    assert "item 1 has a text of more than 128 tokens" in refused.json["detail"]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ("{", 400, "no JSON"),
        ("[" * 100_000, 413, "20,000 bytes"),
        ("[" * 9_000, 400, "nested too deeply"),
        ('{"pairs": [], "pairs": []}', 400, "twice"),
        ('{"pairs": NaN}', 400, "NaN is no JSON value"),
        (b'{"pairs": [["\xff", "a"]]}', 400, "utf-8"),
        ('{"pairs": [["\\ud800 x", "a"]]}', 422, "pair 0, text 1, holds half a surrogate pair"),
        ({"pairs": [["1", "a"], ["2", " "]]}, 422, "pair 1, text 2, is empty"),
        ({"pairs": [["1", "a"], ["2"]]}, 422, "pairs.1"),
        ({"pairs": [["1", 2]]}, 422, "pairs.0.1"),
        ({"pairs": [["1", "a"]], "threshold": 1}, 422, "threshold: Extra inputs"),
        ({}, 422, "pairs: Field required"),
        ([], 422, "the body"),
        ({"pairs": [["1", "a"]] * 51}, 422, "51 items in one request; at most 50"),
    ],
)
def test_a_body_that_cannot_be_answered_is_told_what_is_wrong(null, body, status, word):
    answer = null.ask("/match", body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json["detail"]
    assert answer.json["error"] == answer.json["detail"]
    assert answer.json["status"] == status
    assert len(answer.text) < 600


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/rerank", {"query": "1"}, "give texts"),
        ("/rerank", {"query": "1", "texts": ["a"], "documents": ["a"]}, "not both"),
        ("/rerank", {"query": " ", "texts": ["a"]}, "query 0 is empty"),
        ("/rerank", {"query": "1", "documents": ["a", ""]}, "document 1 is empty"),
        ("/rerank", {"query": "1", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/rerank", {"query": "1", "texts": ["a"], "truncation_direction": "left"}, "truncation_direction"),
        ("/score", {"text_1": ["1", "2"], "text_2": ["1", "2", "3"]}, "text_1 has 2 texts and text_2 3"),
        ("/embed", {"inputs": ["a", ""]}, "text 1 is empty"),
        ("/embed", {"inputs": "a", "normalize": False}, "normalize"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_what_a_shape_does_not_allow_is_named(null, path, body, word):
    answer = null.ask(path, body)
    assert answer.status == 422
    assert word in answer.json["detail"]


def test_the_wrong_path_method_or_media_type(null):
    assert null.ask("/nowhere").status == 404
    assert null.ask("/match").status == 405
    assert null.ask("/match", "{}", content_type="text/plain").status == 415


def test_an_emoji_is_a_text(null):
    assert null.ask("/match", '{"pairs": [["\\ud83d\\ude00", "😀"]]}'.encode()).status == 200


def test_answers_never_cross(null):
    def ask(number):
        size = number % 7 + 1
        rows = null.ask("/match", {"pairs": [[str(number * 10 + k), "x"] for k in range(size)]})
        while rows.status == 429:
            time.sleep(0.05)
            rows = null.ask("/match", {"pairs": [[str(number * 10 + k), "x"] for k in range(size)]})
        return [row["score"] for row in rows.json["results"]] == [number * 10 + k for k in range(size)]

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(200)))


def test_a_failure_of_ours_shows_an_id_and_hurts_nobody_else(null):
    with ThreadPoolExecutor(8) as threads:
        slow = threads.submit(null.ask, "/match", {"pairs": [["slow", "x"]]})
        time.sleep(0.1)  # so that the others wait for one pass together
        asked = [threads.submit(null.ask, "/match", {"pairs": [[word, "x"]]}) for word in ("1", "boom", "2")]
        assert slow.result().status == 200
        good, bad, also_good = (future.result() for future in asked)
    assert (good.status, also_good.status) == (200, 200)
    assert bad.status == 500
    assert bad.json["id"] in bad.json["detail"]
    assert "secret" not in bad.text
    assert "Traceback" not in bad.text
    for _ in range(3):
        assert null.ask("/match", {"pairs": [["nan", "x"]]}).status == 500
    assert null.ask("/readyz").status == 503
    assert null.ask("/match", {"pairs": [["1", "x"]]}).status == 200
    assert null.ask("/readyz").status == 200, "it works again"


def test_a_full_queue_says_when_to_come_back(null):
    many = {"pairs": [["slow", "x"]] * 50}
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(null.ask, "/match", many)
        time.sleep(0.3)
        refused = null.ask("/match", {"pairs": [["1", "x"]] * 40})
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json["error_type"] == "overloaded"
        assert null.ask("/healthz").status == 200
        assert first.result().status == 504, "50 passes of half a second are more than the 2 seconds allowed"


def waiting(server):
    lines = server.ask("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("flipkd_pairs_waiting "))


def test_who_hangs_up_is_forgotten(null):
    for _ in range(3):
        connection = null.connect()
        connection.request(
            "POST", "/match", json.dumps({"pairs": [["slow", "x"]] * 20}), {"content-type": "application/json"}
        )
        time.sleep(0.1)
        connection.close()
    deadline = time.monotonic() + 5
    while waiting(null):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert 'status="gone"' in null.ask("/metrics").text
    assert null.ask("/match", {"pairs": [["1", "x"]]}).status == 200


def sent_raw(server, *parts, pause=0.0, timeout=10):
    """Bytes as they are, and all that comes back until the server closes."""
    with socket.create_connection(server.address, timeout=timeout) as raw:
        for part in parts:
            try:
                raw.sendall(part)
            except OSError:
                break
            time.sleep(pause)
        found = b""
        try:
            while more := raw.recv(65536):
                found += more
        except ConnectionResetError:
            pass
        return found.decode("latin-1")


HEAD = "POST /match HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def test_a_body_without_end_is_cut_off(null):
    assert " 413 " in sent_raw(null, f"{HEAD}Content-Length: 99999999\r\n\r\n".encode())
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    assert " 413 " in sent_raw(null, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk, chunk, chunk)


def test_slow_senders_are_sent_away_and_others_do_not_notice(null):
    with ThreadPoolExecutor(2) as threads:
        headers = threads.submit(sent_raw, null, b"POST /match HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        body = threads.submit(sent_raw, null, f"{HEAD}Content-Length: 100\r\n\r\n".encode(), b"{", pause=0.1)
        began = time.monotonic()
        assert null.ask("/match", {"pairs": [["1", "x"]]}).status == 200
        assert time.monotonic() - began < 0.4
        assert headers.result() == ""
        assert " 408 " in body.result()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:1234"}, 200),
        ({"host": "rebound.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"x_forwarded_host": "rebound.example", "x_forwarded_for": "10.0.0.1"}, 200),
    ],
)
def test_a_page_of_somebody_else_cannot_use_it(null, headers, status):
    assert null.ask("/info", **headers).status == status
    assert null.ask("/match", {"pairs": [["1", "x"]]}, **headers).status == status


def test_a_thousand_odd_paths_make_no_more_series(null):
    null.ask("/odd")
    before = len(null.ask("/metrics").text.splitlines())
    for number in range(50):
        null.ask(f"/odd/{number}?text=secret{number}")
    after = null.ask("/metrics").text
    assert len(after.splitlines()) == before
    assert "secret" not in after


def test_the_page_brings_nothing_from_elsewhere(null):
    page = null.ask("/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    assert null.ask("/page.js").status == null.ask("/page.css").status == 200


def test_every_route_but_health_asks_for_the_key():
    key = "k" * 32
    with null_server(api_key=key) as server:
        server.until_ready()
        paths = server.ask("/openapi.json", authorization=f"Bearer {key}").json["paths"]
        assert len(paths) >= 14
        every = [(path, method.upper()) for path, methods in paths.items() for method in methods]
        for path, method in [
            *every,
            ("/", "GET"),
            ("/page.js", "GET"),
            ("/openapi.json", "GET"),
            ("/nowhere", "DELETE"),
        ]:
            closed = path not in ("/health", "/healthz", "/readyz")
            for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {key}"}):
                answer = server.ask(path, method=method, **given)
                assert (answer.status == 401) is closed, (path, method, answer.status)
        assert server.ask("/match", {"pairs": [["1", "x"]]}, authorization=f"Bearer {key}").status == 200
        assert server.ask("/info", authorization=f"Bearer {key}", host="any.example").status == 200


def test_while_it_loads_it_is_alive_and_not_ready():
    with null_server(loading=1.5) as server:
        assert server.ask("/healthz").status == 200
        ready = server.ask("/readyz")
        assert ready.status == 503
        assert "loading" in ready.json["detail"]
        assert server.ask("/match", {"pairs": [["1", "x"]]}).status == 503
        server.until_ready()


def test_a_model_that_cannot_be_loaded_ends_it_with_its_exit_code():
    with null_server(loading=0.5, broken=True) as server:
        assert server.ask("/readyz").status == 503
        assert server.process.wait(10) == 6


def test_a_signal_drains_it_and_every_accepted_request_is_answered():
    with null_server(batch_size=1) as server:
        server.until_ready()
        with ThreadPoolExecutor(8) as threads:
            accepted = [
                threads.submit(server.ask, "/match", {"pairs": [["slow", "x"], [str(n), "x"]]}) for n in range(4)
            ]
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert server.ask("/readyz").status == 503
            late = server.ask("/match", {"pairs": [["1", "x"]]})
            assert late.status == 503
            assert late.headers["retry-after"]
            scores = [[row["score"] for row in future.result().json["results"]] for future in accepted]
        assert scores == [[0, n] for n in range(4)]
        assert server.process.wait(10) == 0


def test_a_second_signal_does_not_wait():
    with null_server(batch_size=1, grace=60) as server:
        server.until_ready()
        stuck = threading.Thread(target=lambda: sent_raw(server, _long_request()), daemon=True)
        stuck.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(10)
        assert time.monotonic() - began < 5


def _long_request():
    body = json.dumps({"pairs": [["slow", "x"]] * 40})
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_a_browser_compares_what_the_link_names_and_runs_none_of_it(null, tmp_path):
    hostile = "<img src=x onerror=document.title='owned'>"
    link = urlencode({"text": "150", "candidate": ["fits", hostile]}, doseq=True)
    address = "http://{}:{}".format(*null.address)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=8000",
        f"--user-data-dir={tmp_path}",
    ]
    done = subprocess.run(
        ["chromium", *flags, "--dump-dom", f"{address}/?{link}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    cells = re.findall(r"<td>(.*?)</td>", done.stdout)
    assert cells == ["fits", "1.000", "150.00", "match", html.escape(hostile, quote=False), "1.000", "150.00", "match"]
    assert "null, from a score of 100 on it is a match" in done.stdout
    assert "<title>flipkd: try it</title>" in done.stdout
