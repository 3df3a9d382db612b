"""Routes: every format returns the same scores."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import null_server


def test_routes_of_every_format_return_the_same_scores(null):
    own = null.request("/match", {"pairs": [["7", "a"], ["150", "b"]]}).json
    assert [row["score"] for row in own["results"]] == [7, 150]
    assert [row["decision"] for row in own["results"]] == ["no_match", "match"]
    assert (own["model"], own["revision"]) == ("null", "r1")
    probabilities = [row["probability"] for row in own["results"]]
    vllm = null.request("/v1/score", {"text_1": ["7", "150"], "text_2": ["a", "b"]}).json
    assert [row["score"] for row in vllm["data"]] == probabilities
    tei = null.request("/rerank", {"query": "7", "texts": ["a", "b"], "raw_scores": True, "return_text": True}).json
    assert tei == [{"index": 0, "score": 7.0, "text": "a"}, {"index": 1, "score": 7.0, "text": "b"}]
    cohere = null.request("/v2/rerank", {"query": "7", "documents": ["a", {"text": "b"}], "top_n": 1}).json
    assert cohere["results"] == [{"index": 0, "relevance_score": probabilities[0]}]
    vectors = [[1.0, 0.0], [2.0, 0.0]]
    assert null.request("/embed", {"inputs": ["a", "bb"]}).json == vectors
    assert [row["embedding"] for row in null.request("/v1/embeddings", {"input": ["a", "bb"]}).json["data"]] == vectors


@pytest.mark.scenario("S16")
def test_search_scores_the_nearest_and_keeps_their_order_in_ties(null):
    found = null.request("/search", {"query": "12", "top_k": 3}).json
    assert [row["corpus_id"] for row in found["results"]] == [2, 0, 1]
    assert found["results"][0] == {
        "corpus_id": 2, "similarity": 1.0, "score": 12.0, "probability": found["results"][0]["probability"],
        "decision": "no_match", "truncated": False, "text": "2", "id": 2, "answer_id": found["results"][0]["answer_id"],
    }  # fmt: skip
    assert len(null.request("/search", {"query": "12", "top_k": 40}).json["results"]) == 9
    for body, word in (
        ({"query": "12", "top_k": 0}, "top_k"),
        ({"query": "12", "top_k": -1}, "top_k"),
        ({"query": "12", "top_k": 10**9}, "top_k"),
        ({"query": "12", "candidates": 100_001}, "candidates"),
        ({"query": " "}, "empty"),
    ):
        refused = null.request("/search", body)
        assert refused.status == 422
        assert word in refused.json["detail"]


@pytest.mark.scenario("S16")
def test_search_in_an_empty_index_returns_an_empty_list():
    with null_server(entries=0) as server:
        server.until_ready()
        assert server.request("/info").json["index_size"] == 0
        found = server.request("/search", {"query": "12", "top_k": 3})
        assert (found.status, found.json["results"]) == (200, [])


@pytest.mark.scenario("S16")
def test_search_scores_no_more_candidates_than_a_request_may_have_items():
    with null_server(max_items=5, max_queue=5) as server:
        server.until_ready()
        assert len(server.request("/search", {"query": "12"}).json["results"]) == 5
        for name in ("candidates", "top_k"):
            refused = server.request("/search", {"query": "12", name: 6})
            assert refused.status == 422
            assert "6 items in one request; at most 5" in refused.json["detail"]


def test_usage_counts_tokens(null):
    texts = ["one two", "three"]
    assert null.request("/v1/embeddings", {"input": texts}).json["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert null.request("/score", {"text_1": "one two", "text_2": texts}).json["usage"]["total_tokens"] == 7


def test_truncated_texts_are_marked_or_refused(null):
    assert [
        row["truncated"] for row in null.request("/match", {"pairs": [["1", "long"], ["1", "b"]]}).json["results"]
    ] == [
        True,
        False,
    ]
    refused = null.request("/rerank", {"query": "1", "texts": ["b", "long"], "truncate": False})
    assert refused.status == 422
    assert "item 1 has a text of more than 128 tokens" in refused.json["detail"]
    assert null.request("/embed", {"inputs": "long", "truncate": False}).status == 422
    assert null.request("/embed", {"inputs": "long"}).status == 200


@pytest.mark.scenario("S5")
@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/match", {"pairs": [["1", "a"], ["2", "\ud800"]]}, "pair 1, text 2,"),
        ("/rerank", {"query": "\ud800", "texts": ["a"]}, "query 0"),
        ("/rerank", {"query": "1", "texts": ["a", "\udfff"]}, "text 1"),
        ("/v2/rerank", {"query": "1", "documents": ["a", {"text": "\udfff"}]}, "document 1"),
        ("/score", {"text_1": "1", "text_2": ["a", "\udfff"]}, "pair 1, text 2,"),
        ("/search", {"query": "\ud800"}, "query 0"),
        ("/embed", {"inputs": ["a", "\ud800"]}, "text 1"),
        ("/v1/embeddings", {"input": ["a", "\ud800"]}, "text 1"),
    ],
)
def test_routes_name_a_lone_surrogate_and_score_nothing_of_its_request(null, path, body, place):
    before = _passes(null)
    refused = null.request(path, body)
    assert refused.status == 422
    message = refused.json["error"]["message"] if path.startswith("/v1/") else refused.json["detail"]
    assert f"{place} has a lone surrogate" in message
    assert _passes(null) == before


def _passes(server):
    return [line for line in server.request("/metrics").text.splitlines() if "_passes{" in line]


@pytest.mark.scenario("S5")
def test_match_accepts_an_emoji(null):
    assert null.request("/match", '{"pairs": [["\\ud83d\\ude00", "😀"]]}'.encode()).status == 200


@pytest.mark.scenario("L6")
def test_match_gives_concurrent_requests_their_own_scores(null):
    def send_requests(number):
        size = number % 7 + 1
        rows = null.request("/match", {"pairs": [[str(number * 10 + k), "x"] for k in range(size)]})
        while rows.status == 429:
            time.sleep(0.05)
            rows = null.request("/match", {"pairs": [[str(number * 10 + k), "x"] for k in range(size)]})
        return [row["score"] for row in rows.json["results"]] == [number * 10 + k for k in range(size)]

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(send_requests, range(200)))


FIELDS = [
    "pairs",
    "query",
    "texts",
    "documents",
    "top_n",
    "top_k",
    "candidates",
    "text_1",
    "text_2",
    "inputs",
    "input",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "x"]), inner, max_size=2),
    max_leaves=6,
)


@pytest.mark.scenario("S17")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        ["/match", "/rerank", "/v1/rerank", "/score", "/search", "/embed", "/v1/embeddings", "/", "/predict"]
    ),
    body=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4) | anything,
)
def test_routes_answer_no_body_with_an_internal_error(null, path, body):
    answer = null.request(path, json.dumps(body))
    assert answer.status in (200, 400, 422), answer.text
