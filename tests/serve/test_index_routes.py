"""Changes of a served index: a key is needed, searches see whole versions, and kill -9 loses nothing that was acknowledged."""

from __future__ import annotations

import http.client
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import null_server

from flipkd.index import open_index
from flipkd.index.lance import LanceIndex
from flipkd.index.writing import upsert

KEY = "0123456789abcdef"
BEARER = {"authorization": f"Bearer {KEY}"}
READY = r"^flipkd_matcher_ready\{.*\} 1\.0$"  # of a worker, in /metrics
NAMES = [f"n{row}" for row in range(6)]
WIDTH = 9  # of the null server's encoder: the unit vector at the length of the text


def entry(name, text, **columns):
    return {"id": name, "text": text, **columns}


def put(server, entries, *, method="PUT"):
    return server.request("/index", {"entries": entries}, method=method, **BEARER)


def search(server, query="1", **more):
    return server.request("/search", {"query": query, "top_k": 100, "candidates": 100, **more}, **BEARER)


@pytest.fixture
def folder(tmp_path):
    """An index with one entry."""
    columns = {"language": "text", "version": "int"}
    first = [entry("first", "1", language="en", version=0)]
    LanceIndex.create(tmp_path / "index", first, np.eye(WIDTH, dtype=np.float32)[1:2], encoder={}, columns=columns)
    return tmp_path / "index"


@pytest.fixture
def server(folder):
    with null_server(lance=str(folder), api_key=KEY) as server:
        yield server.until_ready()


def test_index_route_upserts_and_deletes_and_search_has_a_filter(server, folder):
    change = put(server, [entry("a", "22", language="de"), entry("b", "333", language="en", version=3)])
    assert change.json == {"version": 2, "added": 2, "replaced": 0, "deleted": 0, "embedded": 2}
    assert server.request("/info", **BEARER).json["index_size"] == 3
    found = search(server, "44").json["results"]
    assert [(row["id"], row["text"]) for row in found[:1]] == [("a", "22")]
    assert found[0]["similarity"] == 1.0
    only = search(server, "44", where="language = 'en' and version > 0").json["results"]
    assert [(row["id"], row["version"]) for row in only] == [("b", 3)]
    same = put(server, [entry("b", "333", language="it")], method="POST").json
    assert (same["replaced"], same["embedded"]) == (1, 0)  # the text is the same, so is its vector
    nameless = put(server, [{"text": "666666"}, {"text": "666666", "language": "fr"}]).json
    assert nameless["added"] == 2
    assert put(server, [{"text": "666666"}]).json["replaced"] == 1
    gone = server.request("/index", {"ids": ["a", "none"]}, method="DELETE", **BEARER).json
    assert gone["deleted"] == 1
    gone = server.request("/index", {"where": "text = '666666'"}, method="DELETE", **BEARER).json
    assert gone["deleted"] == 2
    assert {row["id"] for row in search(server).json["results"]} == {"first", "b"}
    upsert(open_index(folder), [entry("c", "55555")], np.eye(WIDTH, dtype=np.float32)[5:6])  # by another process
    assert search(server, "12345").json["results"][0]["id"] == "c"
    assert server.request("/page.json", **BEARER).json["examples"] == ["1", "333", "55555"]


@pytest.mark.scenario("S16")
@pytest.mark.parametrize(
    "method, body, word",
    [
        ("PUT", {"entries": []}, "entries"),
        ("PUT", {"entries": [{"id": "a"}]}, "text"),
        ("PUT", {"entries": [{"id": 3, "text": "a"}]}, "id"),
        ("PUT", {"entries": [entry("a", " ")]}, "empty"),
        ("PUT", {"entries": [entry("a", "a"), entry("a", "b")]}, "occurs twice"),
        ("PUT", {"entries": [entry("a", "a", color="red")]}, "keeps these columns: language, version"),
        ("PUT", {"entries": [entry("a", "a", version="new")]}, "not of type int"),
        ("PUT", {"entries": [entry("a", "a", language=["en"])]}, "not of type text"),
        ("PUT", {"entries": [entry("a", "a")] * 1001}, "at most 1000"),
        ("DELETE", {}, "not both"),
        ("DELETE", {"ids": ["a"], "where": "version = 1"}, "not both"),
        ("DELETE", {"where": "version = 1; drop table entries"}, "cannot be read at character 12"),
        ("DELETE", {"where": "versoin = 1"}, "did you mean 'version'"),
        ("DELETE", {"where": "version = 'x'"}, "cannot be used"),
        ("DELETE", {"where": "version = 1 or " * 200}, "2000"),
    ],
)
def test_index_route_answers_wrong_changes_with_422_and_changes_nothing(shared, method, body, word):
    refused = shared.request("/index", body, method=method, **BEARER)
    assert (refused.status, word in refused.json["detail"]) == (422, True), refused.text
    assert [row["id"] for row in search(shared).json["results"]] == ["first"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "index"
    columns = {"language": "text", "version": "int"}
    LanceIndex.create(folder, [entry("first", "1")], np.eye(WIDTH, dtype=np.float32)[1:2], encoder={}, columns=columns)
    with null_server(lance=str(folder), api_key=KEY) as server:
        yield server.until_ready()


def test_search_answers_a_wrong_filter_with_422(shared):
    for where in ("version = 'x'", "sleep(1) = 1", "", "text = 'a' --"):
        refused = search(shared, where=where)
        assert refused.status == 422
        assert "the filter" in refused.json["detail"]


def test_index_route_needs_a_key_on_the_server_and_an_index_that_changes(folder):
    body = {"entries": [entry("a", "1")]}
    with null_server(lance=str(folder)) as server:
        server.until_ready()
        refused = server.request("/index", body, method="PUT")
        assert (refused.status, "--api_key_file" in refused.json["detail"]) == (403, True)
    with null_server(api_key=KEY) as server:
        server.until_ready()
        assert server.request("/index", body, method="PUT").status == 401
        refused = put(server, body["entries"])
        assert (refused.status, "--engine lancedb" in refused.json["detail"]) == (422, True)
        assert search(server, where="id = 'a'").status == 422
    assert len(open_index(folder)) == 1


@pytest.mark.scenario("S10", "S16")
@pytest.mark.slow
def test_search_sees_complete_versions_and_kill_9_keeps_what_the_index_route_acknowledged(folder):
    for start in (1, 1000):
        with null_server(lance=str(folder), api_key=KEY) as server, ThreadPoolExecutor(3) as threads:
            server.until_ready()
            writing = threads.submit(write_until_killed, server, start)
            seen: set[int] = set()
            reading = [threads.submit(read_until_killed, server, seen) for _ in range(2)]
            deadline = time.monotonic() + 30
            while len([version for version in seen.copy() if version >= start]) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            server.process.kill()
            acknowledged = writing.result()
            for reader in reading:
                reader.result()
        assert acknowledged >= start
        assert len(seen) > 2, "versions changed while they were searched"
        found = open_index(folder).entries(where="version > 0")
        assert {row["version"] for row in found} <= {acknowledged, acknowledged + 1}
        assert len(found) == len(NAMES)


def write_until_killed(server, start):
    """Write version after version of all entries; the number of the last that was acknowledged."""
    for number in range(start, start + 900):
        rows = [entry(name, "1" * (1 + number % 7), version=number) for name in NAMES]
        try:
            assert put(server, rows).status == 200
        except (OSError, http.client.HTTPException):
            return number - 1
    return number


def read_until_killed(server, seen):
    """Search without an end, and add the versions to `seen`. Each search sees all entries of one version."""
    while True:
        try:
            rows = search(server, where="version > 0").json["results"]
        except (OSError, http.client.HTTPException):
            return
        versions = {row["version"] for row in rows}
        assert len(versions) <= 1
        assert len(rows) in (0, len(NAMES))
        seen |= versions


@pytest.mark.scenario("S16")
def test_search_in_every_worker_sees_what_another_one_wrote(folder):
    with null_server(lance=str(folder), api_key=KEY, workers=2) as server:
        server.until_ready()
        while len(re.findall(READY, server.request("/metrics", **BEARER).text, re.MULTILINE)) < 2:
            time.sleep(0.02)  # a worker that still loads answers 503
        for number in range(1, 5):
            assert put(server, [entry(f"w{number}", "1" * number)]).json["version"] == number + 1
            found = [{row["id"] for row in search(server).json["results"]} for _ in range(4)]  # a connection each
            assert found == [{"first", *(f"w{row}" for row in range(1, number + 1))}] * 4
