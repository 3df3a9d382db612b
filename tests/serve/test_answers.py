"""What programs are told of the answers is what they get."""

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
}


def test_every_answer_is_what_openapi_says(null):
    whole = null.ask("/openapi.json").json
    assert set(SENT) == {path for path, methods in whole["paths"].items() if "post" in methods}
    for path, body in SENT.items():
        told = whole["paths"][path]["post"]["responses"]
        answer = null.ask(path, body)
        assert answer.status == 200
        schema = resolved(told["200"]["content"]["application/json"]["schema"], whole)
        assert schema != {}
        jsonschema.validate(answer.json, schema)
        refused = null.ask(path, {})
        jsonschema.validate(
            refused.json, told[str(refused.status)]["content"][refused.headers["content-type"]]["schema"]
        )


def test_what_was_not_asked_for_is_not_there(null):
    [ranked] = null.ask("/rerank", {"query": "7", "texts": ["a"]}).json
    assert set(ranked) == {"index", "score"}
    [ranked] = null.ask("/v2/rerank", {"query": "7", "documents": ["a"]}).json["results"]
    assert set(ranked) == {"index", "relevance_score"}


def test_base64_is_the_same_vector(null):
    [row] = null.ask("/v1/embeddings", {"input": "abc", "encoding_format": "base64"}).json["data"]
    assert np.frombuffer(base64.b64decode(row["embedding"]), "<f4").tolist() == [3.0, 0.0]
