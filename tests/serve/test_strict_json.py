"""Bodies that are no JSON, or say more than they may."""

import pytest


@pytest.mark.scenario("S4", "S5")
@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ("{", 400, "no JSON"),
        ("[" * 100_000, 413, "20,000 bytes"),
        ("[" * 3_000, 400, "nested too deeply"),
        ("[" * 9_000, 422, "more than 3,200 values"),
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


@pytest.mark.scenario("S4")
def test_the_wrong_path_method_or_media_type(null):
    assert null.ask("/nowhere").status == 404
    assert null.ask("/match").status == 405
    assert null.ask("/match", "{}", content_type="text/plain").status == 415
    assert null.ask("/match", "{}", content_encoding="gzip").status == 415
