"""Endpoint against a real server: what is sent, cached, retried, refused, and the budget."""

from __future__ import annotations

import itertools
import json

import pytest
from chat_server import chat_server

from flipkd.errors import ConfigError, ResourceError
from flipkd.generate import endpoint as module
from flipkd.generate.endpoint import Endpoint


def ask(text):
    return [{"role": "user", "content": text}]


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.0)


def client(server, tmp_path, *, budget=100, model="m", **more):
    return Endpoint(server.url, settings={"model": model}, cache=tmp_path / "cache", budget=budget, **more)


def test_each_distinct_request_is_sent_once_in_all_and_replies_keep_their_order(tmp_path):
    with chat_server(lambda prompt: prompt.upper()) as server:
        requests = [ask(f"text {k}") for k in range(20)]
        assert client(server, tmp_path, key="secret").replies(requests) == [f"TEXT {k}" for k in range(20)]
        assert {(one.path, one.key) for one in server.seen} == {("/v1/chat/completions", "Bearer secret")}
        again = client(server, tmp_path)
        assert again.replies(requests[::-1]) == [f"TEXT {k}" for k in range(19, -1, -1)]
        assert (len(server.seen), again.sent, again.reused) == (20, 0, 20)
        client(server, tmp_path, model="other").reply(requests[0])
        assert len(server.seen) == 21, "another model is another request"
    assert not any("secret" in file.read_text() for file in (tmp_path / "cache").iterdir())


def test_the_budget_limits_what_is_sent_and_not_what_is_cached(tmp_path):
    with chat_server(lambda prompt: prompt) as server:
        replies = client(server, tmp_path, budget=3, concurrency=1).replies([ask(str(k)) for k in range(5)])
        assert replies == ["0", "1", "2", None, None]
        replies = client(server, tmp_path, budget=1, concurrency=1).replies([ask(str(k)) for k in range(5)])
        assert replies == ["0", "1", "2", "3", None]
        assert len(server.seen) == 4


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(tmp_path):
    tries = itertools.count()
    with chat_server(lambda prompt: 503 if next(tries) < 2 else "done") as server:
        assert client(server, tmp_path).reply(ask("a")) == "done"
        assert len(server.seen) == 3
    for status in (401, 302):
        with chat_server(lambda prompt, status=status: status) as server:
            with pytest.raises(ResourceError, match=f"HTTP {status}"):
                client(server, tmp_path).reply(ask(f"b{status}"))
            assert len(server.seen) == 1, "a redirect is not followed, since it would take the key elsewhere"


def test_a_server_that_is_away_or_none_is_an_error_that_says_so(tmp_path):
    with chat_server(lambda prompt: b"<html>") as server, pytest.raises(ResourceError, match="is no chat completion"):
        client(server, tmp_path).reply(ask("a"))
    with pytest.raises(ResourceError, match=r"cannot be reached .*; start the server"):
        client(server, tmp_path).reply(ask("a"))
    with pytest.raises(ConfigError, match="give an address such as"):
        Endpoint("file:///etc/passwd", settings={}, cache=tmp_path, budget=1)


def test_a_reply_without_end_and_one_that_is_no_text(tmp_path, monkeypatch):
    with chat_server(lambda prompt: None) as server:
        assert client(server, tmp_path).reply(ask("a")) is None
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    with chat_server(lambda prompt: "x" * 2000) as server, pytest.raises(ResourceError, match="more than 1,000 bytes"):
        client(server, tmp_path).reply(ask("b"))


def test_a_damaged_cache_entry_is_asked_again(tmp_path):
    with chat_server(lambda prompt: "new") as server:
        client(server, tmp_path).reply(ask("a"))
        (file,) = (tmp_path / "cache").iterdir()
        assert json.loads(file.read_text())["reply"] == "new"
        file.write_text("{")
        assert client(server, tmp_path).reply(ask("a")) == "new"
        assert len(server.seen) == 2
