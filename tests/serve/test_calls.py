"""Fields without effect are listed in a header and logged once; vectors are cut to a width."""

from types import SimpleNamespace

import pytest
from starlette.exceptions import HTTPException

from flipkd.serve.calls import MOST_LOGGED, note_ignored, shortened
from flipkd.serve.loaded import EncodedText
from flipkd.serve.shapes import EmbedBody


@pytest.mark.parametrize(
    ("path", "body", "ignored"),
    [
        ("/rerank", {"query": "1", "texts": ["a"], "user": "u", "priority": 1, "instruction": None}, "priority"),
        (
            "/v1/rerank",
            {"query": "1", "documents": ["a"], "max_tokens_per_doc": 9, "model": "m"},
            "max_tokens_per_doc",
        ),
        ("/v1/rerank", {"query": "1", "documents": ["a"], "é\n": 1, "x" * 61: 1, "a,b": 1, "z": [[]]}, "(other), z"),
        ("/score", {"text_1": "1", "text_2": "2", "truncate_prompt_tokens": 9}, "truncate_prompt_tokens"),
        ("/embed", {"inputs": "a", "prompt_name": "p", "normalize": False}, "normalize, prompt_name"),
        ("/v1/embeddings", {"input": "a", "priority": 1, "encoding_format": "base64"}, "priority"),
        ("/predict", {"inputs": ["1", "2"], "labels": 1}, "labels"),
        ("/", {"inputs": "a", "prompt_name": "p"}, "prompt_name"),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"], "c": 1}, "parameters": {"d": 1}, "e": 1},
            "c, d, e",
        ),
    ],
)
def test_ignored_fields_are_listed_in_a_header(null, path, body, ignored):
    answer = null.request(path, body)
    assert answer.status == 200, answer.text
    assert answer.headers["x-ignored-fields"] == ignored


def test_a_request_without_ignored_fields_has_no_header(null):
    assert "x-ignored-fields" not in null.request("/embed", {"inputs": "a", "normalize": True}).headers


def test_note_ignored_logs_fields_once_and_not_without_end(caplog):
    state = SimpleNamespace(logged_fields=set())
    request = SimpleNamespace(
        app=SimpleNamespace(state=state), state=SimpleNamespace(), url=SimpleNamespace(path="/embed")
    )
    for field in ("a", "a", *map(str, range(2 * MOST_LOGGED))):
        note_ignored(request, EmbedBody.model_validate({"inputs": "x", field: 1}))
    assert len(caplog.records) == len(state.logged_fields) == MOST_LOGGED
    assert caplog.messages[0] == "field a of a request to /embed is ignored; this is logged once"


def test_shortened_vectors_are_cut_and_have_unit_length_again():
    found = [EncodedText([0.6, 0.0, 0.8], False, 1), EncodedText([0.0, 0.0, 1.0], False, 1)]
    assert shortened(found, 0) == shortened(found, 3) == [[0.6, 0.0, 0.8], [0.0, 0.0, 1.0]]
    assert shortened(found, 2) == [[1.0, 0.0], [0.0, 0.0]]
    assert shortened([], 2) == []
    with pytest.raises(HTTPException, match="dimensions is 4; the vectors have 3"):
        shortened(found, 4)
