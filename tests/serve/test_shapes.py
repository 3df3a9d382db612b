"""What the shape of a body does not allow is named."""

import pytest


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/rerank", {"query": "1"}, "give texts"),
        ("/rerank", {"query": "1", "texts": ["a"], "documents": ["a"]}, "not both"),
        ("/rerank", {"query": " ", "texts": ["a"]}, "query 0 is empty"),
        ("/rerank", {"query": "1", "documents": ["a", ""]}, "document 1 is empty"),
        ("/rerank", {"query": "1", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/rerank", {"query": "1", "documents": ["a", {}]}, "documents.1"),
        ("/rerank", {"query": "1", "documents": [{"text": "a", "title": "b"}]}, "documents.0"),
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
