"""Bodies that are not valid JSON, or have too many values."""

import pytest


@pytest.mark.scenario("S4", "S5")
@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ("{", 400, "not valid JSON"),
        ("[" * 100_000, 413, "20,000 bytes"),
        ("[" * 3_000, 400, "nested too deeply"),
        ("[" * 9_000, 422, "more than 3,200 values"),
        ('{"pairs": [], "pairs": []}', 400, "a duplicate name"),
        ('{"pairs": NaN}', 400, "NaN is not a JSON value"),
        (b'{"pairs": [["\xff", "a"]]}', 400, "utf-8"),
        ('{"pairs": [["\\ud800 x", "a"]]}', 422, "pair 0, text 1, has a lone surrogate"),
        ({"pairs": [["1", "a"], ["2", " "]]}, 422, "pair 1, text 2, is empty"),
        ({"pairs": [["1", "a"], ["2"]]}, 422, "pairs.1"),
        ({"pairs": [["1", 2]]}, 422, "pairs.0.1"),
        ({"pairs": [["1", "a"]], "threshold": 1}, 422, "threshold: no such field"),
        ({}, 422, "pairs: Field required"),
        ({"pair": [["1", "a"]]}, 422, "pair: no such field"),
        ([], 422, "the body"),
        ({"pairs": [["1", "a"]] * 51}, 422, "51 items in one request; at most 50"),
    ],
)
def test_invalid_body_gets_its_status_and_reason(null, body, status, word):
    answer = null.request("/match", body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json["detail"]
    assert answer.json["error"] == answer.json["detail"]
    assert answer.json["status"] == status
    assert len(answer.text) < 600


@pytest.mark.scenario("S4")
def test_strict_route_refuses_a_wrong_path_method_or_media_type(null):
    assert null.request("/nowhere").status == 404
    wrong = null.request("/match")
    assert (wrong.status, "this path takes POST" in wrong.json["detail"]) == (405, True)
    assert null.request("/match", "{}", content_type="text/plain").status == 415
    assert null.request("/match", "{}", content_encoding="gzip").status == 415
