"""Responses match the OpenAPI document."""

import base64

import jsonschema
import numpy as np
from schemas import resolved

SENT = {
    "/match": {"pairs": [["7", "a"]]},
    "/rerank": {"query": "7", "texts": ["a"], "return_text": True},
    "/v1/rerank": {"query": "7", "documents": ["a"], "return_documents": True},
    "/v2/rerank": {"query": "7", "documents": ["a"]},
    "/score": {"text_1": "7", "text_2": "a"},
    "/v1/score": {"text_1": "7", "text_2": "a"},
    "/search": {"query": "7"},
    "/embed": {"inputs": "a"},
    "/v1/embeddings": {"input": "a"},
    "/": {"query": "7", "texts": ["a"]},
    "/predict": {"inputs": [["7", "a"]]},
    "/similarity": {"inputs": {"source_sentence": "7", "sentences": ["a"]}},
}


def test_every_response_matches_the_openapi_schema(null):
    openapi = null.request("/openapi.json").json
    posted = {path for path, methods in openapi["paths"].items() if "post" in methods}
    # /index needs an index that changes
    assert set(SENT) == {path for path in posted if not path.startswith("/admin/")} - {"/index"}
    for path, body in SENT.items():
        documented = openapi["paths"][path]["post"]["responses"]
        answer = null.request(path, body)
        assert answer.status == 200
        schema = resolved(documented["200"]["content"]["application/json"]["schema"], openapi)
        assert schema != {}
        jsonschema.validate(answer.json, schema)
        refused = null.request(path, {})
        jsonschema.validate(
            refused.json, documented[str(refused.status)]["content"][refused.headers["content-type"]]["schema"]
        )


def test_rerank_returns_texts_on_request_only(null):
    [ranked] = null.request("/rerank", {"query": "7", "texts": ["a"]}).json
    assert set(ranked) == {"index", "score"}
    [ranked] = null.request("/v2/rerank", {"query": "7", "documents": ["a"]}).json["results"]
    assert set(ranked) == {"index", "relevance_score"}


def test_base64_embedding_is_the_same_vector(null):
    [row] = null.request("/v1/embeddings", {"input": "abc", "encoding_format": "base64"}).json["data"]
    assert np.frombuffer(base64.b64decode(row["embedding"]), "<f4").tolist() == [3.0, 0.0]
