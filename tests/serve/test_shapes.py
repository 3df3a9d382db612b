"""Request bodies: invalid fields are named, bodies of known clients are accepted."""

import pytest


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/rerank", {"query": "1"}, "give texts"),
        ("/rerank", {"query": "1", "texts": ["a"], "documents": ["a"]}, "not both"),
        ("/rerank", {"query": " ", "texts": ["a"]}, "query 0 is empty"),
        ("/rerank", {"query": "1", "documents": ["a", ""]}, "document 1 is empty"),
        ("/rerank", {"query": "1", "documents": ["a"], "top_n": -1}, "top_n"),
        ("/rerank", {"query": "1", "documents": ["a", {}]}, "documents.1"),
        ("/rerank", {"query": "1", "documents": ["a", 5]}, "documents.1"),
        ("/rerank", {"query": "1", "texts": ["a"], "truncation_direction": "left"}, "truncation_direction"),
        ("/rerank", {"query": "1", "documents": ["long"], "truncate": False}, "truncate is false"),
        (
            "/rerank",
            {"query": "1", "documents": [{"text": "a"}, {"text": "a", "b": 1}], "rank_fields": ["b"]},
            "documents.1",
        ),
        (
            "/rerank",
            {"query": "1", "documents": ["a"], "rank_fields": ["text"] * 17},
            "rank_fields is a list of 17; write at most 16 values",
        ),
        ("/rerank", {"query": "1", "documents": ["a"], "top_n": 1.5}, "top_n is 1.5; write a whole number"),
        ("/rerank", {"query": "1", "documents": ["a"], "top_n": "1"}, "top_n is '1'; write a whole number"),
        ("/rerank", {"query": "1", "documents": ["a"], "top_n": True}, "top_n is True; write a whole number"),
        ("/predict", {"inputs": "a"}, "a matcher scores pairs of texts"),
        ("/predict", {"inputs": ["a"]}, "a matcher scores pairs of texts"),
        ("/predict", {"inputs": [["a"]]}, "inputs"),
        ("/predict", {"inputs": []}, "inputs"),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": []}, "parameters": {"truncation_direction": "left"}},
            "truncation_direction",
        ),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"] * 51}},
            "51 items",
        ),
        ("/embed", {"inputs": "a", "encoding_format": "base64"}, "encoding_format"),
        ("/", {"query": "1"}, "give texts"),
        ("/", {"text": "1"}, "inputs: Field required"),
        ("/score", {"text_1": "1", "text_2": "2", "truncation_side": "left"}, "truncation_side"),
        ("/embed", {"inputs": "a", "dimensions": 5}, "the vectors have 2"),
        ("/score", {"text_1": ["1", "2"], "text_2": ["1", "2", "3"]}, "text_1 has 2 texts and text_2 3"),
        ("/embed", {"inputs": ["a", ""]}, "text 1 is empty"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ("/v1/embeddings", {"input": [[1, 2]]}, "send texts, not token ids"),
        ("/v1/embeddings", {"input": "a", "dimensions": 5}, "the vectors have 2"),
    ],
)
def test_invalid_field_of_a_body_is_named(null, path, body, word):
    answer = null.request(path, body)
    assert answer.status == 422
    assert word in (answer.json["error"]["message"] if path.startswith("/v1/") else answer.json["detail"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": "1", "texts": ["a"], "raw_scores": None, "truncate": None, "documents": None}),
        ("/rerank", {"query": "1", "documents": [{"text": "a", "title": "b"}], "top_n": 0, "return_documents": None}),
        ("/v1/rerank", {"query": "1", "documents": ["a"], "model": "m", "max_chunks_per_doc": 10}),
        ("/v2/rerank", {"query": "1", "documents": ["a"], "model": "m", "max_tokens_per_doc": 4096}),
        ("/v1/rerank", {"query": "1", "documents": ["a"], "max_tokens_per_doc": 4096, "rank_fields": ["text"]}),
        (
            "/rerank",  # what infinity_client sends
            {"query": "1", "documents": ["a"], "return_documents": False, "raw_scores": False, "model": "m"},
        ),
        ("/v1/rerank", {"query": "1", "documents": ["a"], "model": "m", "truncate_prompt_tokens": -1}),
        ("/score", {"text_1": "1", "text_2": ["a"], "truncate_prompt_tokens": 512, "priority": 0, "user": "u"}),
        ("/embed", {"inputs": "a", "truncate": None, "normalize": None, "dimensions": 2}),
        ("/v1/embeddings", {"input": "a", "model": "m", "encoding_format": None, "dimensions": 2, "user": "u"}),
        ("/v1/embeddings", {"input": "a", "model": "m", "modality": "text", "dimensions": 0}),
    ],
)
def test_shapes_accept_bodies_of_known_clients(null, path, body):
    assert null.request(path, body).status == 200


@pytest.mark.parametrize(
    ("body", "best", "text"),
    [
        ({"documents": [{"text": "x", "title": "a"}, "b"], "rank_fields": ["title"]}, 2, "a"),
        ({"documents": [{"text": "x", "title": "a"}, "b"], "rank_fields": ["title", "no", "text"]}, 2, "a\nx"),
        ({"documents": ["a", "b"], "rank_fields": ["title"]}, 2, "a"),
        ({"documents": ["a", "b"], "rank_fields": [], "top_n": 1.0}, 1, "a"),
        ({"texts": ["a", "b"], "top_n": 1.0, "truncate": True}, 1, "a"),
    ],
)
def test_rank_fields_and_top_n_have_an_effect(null, body, best, text):
    answer = null.request("/rerank", {"query": "1", "return_text": True, **body})
    assert "x-ignored-fields" not in answer.headers
    rows = answer.json if "texts" in body else answer.json["results"]
    assert len(rows) == best
    assert (rows[0]["text"] if "texts" in body else rows[0]["document"]["text"]) == text


@pytest.mark.parametrize(
    "names", [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items")]
)
def test_score_accepts_each_name_of_its_two_texts(null, names):
    answer = null.request("/score", dict(zip(names, ("7", ["a", "b"]), strict=True)) | {"use_activation": False})
    assert [row["score"] for row in answer.json["data"]] == [7, 7]
    assert "x-ignored-fields" not in answer.headers


def test_raw_scores_are_returned_on_request(null):
    for asked in ({"raw_scores": True}, {"use_activation": False}):
        ranked = null.request("/rerank", {"query": "7", "documents": ["a"], **asked}).json["results"]
        assert ranked[0]["relevance_score"] == 7
    for asked in ("use_activation", "activation", "softmax"):
        assert null.request("/score", {"text_1": "7", "text_2": "a", asked: False}).json["data"][0]["score"] == 7
