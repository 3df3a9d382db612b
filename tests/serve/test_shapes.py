"""What the shape of a body does not allow is named."""

import pytest


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/rerank", {"query": "1"}, "give texts"),
        ("/rerank", {"query": "1", "texts": ["a"], "documents": ["a"]}, "not both"),
        ("/rerank", {"query": " ", "texts": ["a"]}, "query 0 is empty"),
        ("/rerank", {"query": "1", "documents": ["a", ""]}, "document 1 is empty"),
        ("/rerank", {"query": "1", "documents": ["a"], "top_n": -1}, "top_n"),
        ("/rerank", {"query": "1", "texts": ["a"], "top_n": 1}, "top_n does not go with texts"),
        ("/rerank", {"query": "1", "documents": ["a"], "truncate": False}, "truncate does not go with documents"),
        ("/rerank", {"query": "1", "documents": ["a", {}]}, "documents.1"),
        ("/rerank", {"query": "1", "documents": ["a", 5]}, "documents.1"),
        ("/rerank", {"query": "1", "texts": ["a"], "truncation_direction": "left"}, "truncation_direction"),
        ("/score", {"text_1": ["1", "2"], "text_2": ["1", "2", "3"]}, "text_1 has 2 texts and text_2 3"),
        ("/embed", {"inputs": ["a", ""]}, "text 1 is empty"),
        ("/embed", {"inputs": "a", "normalize": False}, "normalize"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ("/v1/embeddings", {"input": [[1, 2]]}, "send texts, not token ids"),
        ("/v1/embeddings", {"input": "a", "dimensions": 5}, "the vectors have 2"),
    ],
)
def test_what_a_shape_does_not_allow_is_named(null, path, body, word):
    answer = null.ask(path, body)
    assert answer.status == 422
    assert word in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": "1", "texts": ["a"], "raw_scores": None, "truncate": None, "documents": None}),
        ("/rerank", {"query": "1", "documents": [{"text": "a", "title": "b"}], "top_n": 0, "return_documents": None}),
        ("/v1/rerank", {"query": "1", "documents": ["a"], "model": "m", "max_chunks_per_doc": 10}),
        ("/v2/rerank", {"query": "1", "documents": ["a"], "model": "m", "max_tokens_per_doc": 4096}),
        ("/embed", {"inputs": "a", "truncate": None, "normalize": None}),
        ("/v1/embeddings", {"input": "a", "model": "m", "encoding_format": None, "dimensions": 2, "user": "u"}),
    ],
)
def test_what_clients_send_by_themselves_is_taken(null, path, body):
    assert null.ask(path, body).status == 200
