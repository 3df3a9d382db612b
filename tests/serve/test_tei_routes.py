"""/predict, and / with each of its bodies."""

import pytest


def test_predict_returns_a_list_of_labels_for_each_pair(null):
    [[first], [second]] = null.request("/predict", {"inputs": [["7", "a"], ["150", "b"]], "raw_scores": True}).json
    assert (first, second) == ({"score": 7, "label": "match"}, {"score": 150, "label": "match"})
    [one] = null.request("/predict", {"inputs": ["7", "a"]}).json
    own = null.request("/match", {"pairs": [["7", "a"]]}).json["results"][0]
    assert one["score"] == own["probability"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"inputs": "a"}),
        ("/embed", {"inputs": ["a", "b"]}),
        ("/rerank", {"query": "7", "texts": ["a", "b"], "raw_scores": True}),
        ("/predict", {"inputs": [["7", "a"]]}),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
    ],
)
def test_the_root_answers_as_the_route_of_its_body(null, path, body):
    answer = null.request("/", body)
    assert answer.status == 200, answer.text
    assert answer.json == null.request(path, body).json


def test_the_root_ranks_documents_too(null):
    answer = null.request("/", {"query": "7", "documents": ["a"], "return_documents": True}).json
    assert answer["results"][0]["document"] == {"text": "a"}
