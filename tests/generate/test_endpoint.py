"""Endpoint against a real server: what is sent, cached, retried, refused, and the budget."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

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


def test_endpoint_budget_limits_what_is_sent_and_not_what_is_cached(tmp_path):
    with chat_server(lambda prompt: prompt) as server:
        replies = client(server, tmp_path, budget=3, concurrency=1).replies([ask(str(k)) for k in range(5)])
        assert replies == ["0", "1", "2", None, None]
        replies = client(server, tmp_path, budget=1, concurrency=1).replies([ask(str(k)) for k in range(5)])
        assert replies == ["0", "1", "2", "3", None]
        assert len(server.seen) == 4


def test_endpoint_asks_a_busy_server_again_and_one_that_refuses_not(tmp_path):
    tries = itertools.count()
    with chat_server(lambda prompt: 503 if next(tries) < 2 else "done") as server:
        assert client(server, tmp_path).reply(ask("a")) == "done"
        assert len(server.seen) == 3
    for status in (401, 302):
        with chat_server(lambda prompt, status=status: status) as server:
            with pytest.raises(ResourceError, match=f"HTTP {status}"):
                client(server, tmp_path).reply(ask(f"b{status}"))
            assert len(server.seen) == 1, "a redirect is not followed, since it would take the key elsewhere"


def test_endpoint_names_a_server_that_is_away_or_none(tmp_path):
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


@pytest.mark.parametrize(
    "address",
    ["http://[", "http://.../v1", f"http://{'a' * 70}/", "http://ex\u2100mple/", "http://h/\u00fc", "http://h/a b"]
    + ["http://h/a\nb", "http://h:99999/", "http://h:abc/", "http:///v1", "file:///etc/passwd"],
)
def test_an_address_to_which_nothing_can_be_sent_is_refused_at_once(tmp_path, address):
    with pytest.raises(ConfigError, match="give an address such as"):
        Endpoint(address, settings={}, cache=tmp_path, budget=1)


def test_no_message_has_a_key_or_a_password(tmp_path):
    with pytest.raises(ConfigError, match="--api_key_file") as caught:
        Endpoint("http://me:pass1234@127.0.0.1/v1", settings={}, cache=tmp_path, budget=1)
    assert "pass1234" not in str(caught.value)

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self):
            content = f"wrong: {self.headers['Authorization']}".encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with serving(Echo) as url, pytest.raises(ResourceError, match="HTTP 401: 'wrong: Bearer") as caught:
        Endpoint(url, settings={}, cache=tmp_path, budget=1, key="sk-12345678").reply(ask("a"))
    assert "12345678" not in str(caught.value)


def test_a_reply_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b" ")
                    time.sleep(0.02)

        def log_message(self, *_):
            pass

    with serving(Slow) as url, pytest.raises(ResourceError, match=r"no complete reply within 0\.2 seconds"):
        Endpoint(url, settings={}, cache=tmp_path, budget=1, timeout=0.2).reply(ask("a"))


@contextlib.contextmanager
def serving(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
