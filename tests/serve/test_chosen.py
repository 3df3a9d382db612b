"""Chosen: the choice of a version, the requests that hold it, and the headers that name it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.requests import Request

from flipkd.serve.chosen import Chosen, answer_headers, choose, released


class OneModel:
    """Stand-in for Models: it has one service, and keeps how it was asked."""

    def __init__(self, name="faq", version="v1") -> None:
        self.service = SimpleNamespace(name=name, version=version, users=0)
        self.asked = []

    def choose(self, name, *, client):
        self.asked.append((name, client))
        return self.service, "live"


def request(models=None, **headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "app": SimpleNamespace(state=SimpleNamespace(models=models))})


@pytest.mark.parametrize(
    "headers, user, client",
    [
        ({"x_client_id": "from header"}, "from body", "from header"),
        ({}, "from body", "from body"),
        ({}, 0, "0"),
        ({"x_client_id": ""}, None, None),
        ({}, None, None),
    ],
)
def test_choose_takes_the_client_of_the_header_or_else_the_user_of_the_body(headers, user, client):
    models = OneModel()
    found = choose(request(models, **headers), model="m", user=user)
    assert models.asked == [("m", client)]
    assert (found.service, found.version, found.alias, found.client) == (models.service, "v1", "live", client)


def test_choose_gives_each_answer_and_pair_another_id():
    models = OneModel()
    first, second = (choose(request(models)) for _ in range(2))
    assert (len(first.id), first.id == second.id) == (32, False)
    assert first.pair_id(3) == f"{first.id}-3"


def test_released_frees_the_version_after_its_request_also_when_it_fails():
    models = OneModel()
    good, bad = request(models), request(models)
    with released(good):
        choose(good)
        with pytest.raises(ValueError, match="x"), released(bad):
            choose(bad)
            assert models.service.users == 2
            raise ValueError("x")
        assert models.service.users == 1
    assert models.service.users == 0


def test_released_does_nothing_for_a_request_that_chose_no_version():
    with released(request()):
        pass


def test_answer_headers_name_the_matcher_its_version_and_the_answer():
    sent = request(OneModel())
    assert answer_headers(sent) == {}
    found = choose(sent)
    assert answer_headers(sent) == {"x-model": "faq", "x-model-version": "v1", "x-answer-id": found.id}


def test_answer_headers_replace_what_is_not_ascii():
    sent = request()
    sent.state.chosen = Chosen(SimpleNamespace(name="café\n😀"), "v1", None, None, "i")
    assert answer_headers(sent)["x-model"] == "caf?\n?"
