"""Answer log: one line per scored pair, no text, a client's hash, and answers that never wait for the disk."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from served_versions import BEARER, server_of
from servers import null_server

from flipkd.errors import ResourceError
from flipkd.serve import answer_log
from flipkd.serve.answer_log import AnswerLog
from flipkd.serve.calls import Answers
from flipkd.serve.chosen import Chosen
from flipkd.serve.loaded import Match

FIELDS = ["id", "time", "alias", "matcher", "version", "client", "score", "probability", "decision"]
NOW = datetime(2026, 11, 27, 4, 30, 5, 123456, tzinfo=UTC)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(name="a", *, client="client 1", count=1, text="x"):
    chosen = Chosen(SimpleNamespace(name="faq-v1"), "0123456789ab", "live", client, name)
    return Answers(chosen, NOW, [(text, text)] * count, [Match(1.5, 0.75, "match", False, 2)] * count)


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr(answer_log, "INTERVAL", 0.01)
    logs = []

    def open_log(path, **settings):
        logs.append(AnswerLog(path, **({"log_texts": False, "most_bytes": 10**6, "most_files": 3} | settings)))
        return logs[-1]

    yield open_log
    for log in logs:
        log.close()


@pytest.mark.parametrize("content", [b"text1,text2\na,b", b"SQLite format 3\0", b'{"id": "q1", "text": "a"}'])
def test_answer_log_keeps_a_file_that_is_none(opened, tmp_path, content):
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(ResourceError, match=r"mine: cannot be written \(it exists and is no answer log"):
        opened(tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_workers_that_start_at_once_share_one_salt(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(answer_log.os, "urandom", lambda count: time.sleep(0.1) or b"s" * count)
    with ThreadPoolExecutor(3) as pool:
        logs = list(pool.map(lambda _: opened(tmp_path / "answers.jsonl"), range(3)))
    assert [log._salt for log in logs] == [b"s" * answer_log.SALT_BYTES] * 3


def test_a_line_has_exactly_these_fields(opened, tmp_path):
    log = opened(tmp_path / "logs" / "answers.jsonl")
    log.add(answers("abc", count=2))
    log.add(answers("def", client=None))
    log.close()
    first, second, third = lines_of(tmp_path / "logs" / "answers.jsonl")
    assert list(first) == FIELDS
    assert first | {"client": None} == {
        "id": "abc-0", "time": "2026-11-27T04:30:05.123Z", "alias": "live", "matcher": "faq-v1",
        "version": "0123456789ab", "client": None, "score": 1.5, "probability": 0.75, "decision": "match",
    }  # fmt: skip
    assert (second["id"], third["id"], third["client"]) == ("abc-1", "def-0", None)


def test_the_hash_of_a_client_is_salted_and_the_same_after_a_restart(opened, tmp_path):
    hashes = []
    for folder in ("one", "one", "two"):
        log = opened(tmp_path / folder / "answers.jsonl")
        log.add(answers())
        log.close()
        hashes.append(lines_of(tmp_path / folder / "answers.jsonl")[-1]["client"])
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 16
    assert (tmp_path / "one" / "answers.jsonl.salt").stat().st_mode & 0o777 == 0o600


def test_answer_log_has_texts_only_when_asked_for(opened, tmp_path):
    for name, wanted in (("without", False), ("with", True)):
        log = opened(tmp_path / name, log_texts=wanted)
        log.add(answers(text="sécret\n\ud800"))
        log.close()
    assert "cret" not in (tmp_path / "without").read_text()
    [row] = lines_of(tmp_path / "with")
    assert list(row) == [*FIELDS, "text1", "text2"]
    assert row["text1"] == "sécret\n\ud800"


def test_answer_log_of_the_server_has_every_pair_that_it_scores(tmp_path):
    path = tmp_path / "answers.jsonl"
    settings = {"aliases": {"live": {"a": 50, "b": 50}}, "answer_log": {"path": str(path)}}
    with server_of(tmp_path, "a", "b", **settings) as server:
        expected = {}
        for number in range(12):
            client = {"x_client_id": f"secret-client-{number % 6}"}
            reply = server.request("/match", {"pairs": [["1", "secret text"], ["2", "x"]]}, **BEARER, **client)
            assert reply.json["results"][1]["answer_id"] == reply.headers["x-answer-id"] + "-1"
            for row in reply.json["results"]:
                expected[row["answer_id"]] = (reply.json["model"], reply.json["revision"], row["score"])
        ranked = server.request("/v2/rerank", {"query": "3", "documents": ["x"], "model": "a"}, **BEARER)
        expected[f"{ranked.json['id']}-0"] = ("a", "a-1", 1003.0)
        server.stopped()
    rows = lines_of(path)
    assert {row["id"]: (row["matcher"], row["version"], row["score"]) for row in rows} == expected
    assert [row["alias"] for row in rows] == ["live"] * 24 + [None]
    by_client = {}
    for row in rows[:24]:
        by_client.setdefault(row["client"], set()).add(row["matcher"])
    assert len(by_client) == 6
    assert all(len(matchers) == 1 for matchers in by_client.values()), "a client stays with its matcher"
    assert "secret" not in path.read_text()


def test_search_rows_have_the_id_under_which_they_are_logged(tmp_path):
    path = tmp_path / "answers.jsonl"
    with null_server(answer_log={"path": str(path)}) as server:
        server.until_ready()
        rows = server.request("/search", {"query": "12", "top_k": 2}).json["results"]
        server.stopped()
    logged = {row["id"]: row["score"] for row in lines_of(path)}
    assert len(logged) == 9, "each candidate was scored"
    assert [logged[row["answer_id"]] for row in rows] == [row["score"] for row in rows]


def test_a_full_disk_stops_no_answer_and_lines_wait_for_free_space(tmp_path, opened, caplog, monkeypatch):
    log = opened(tmp_path / "answers.jsonl")
    monkeypatch.setattr(answer_log, "MOST_WAITING_BYTES", 2_000)
    write, is_full = os.pwrite, True

    def pwrite(descriptor, content, at):
        """Write half, and then there is no space left."""
        if not is_full:
            return write(descriptor, content, at)
        write(descriptor, content[: len(content) // 2], at)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    for number in range(10):
        began = time.monotonic()
        log.add(answers(f"{number}"))
        assert time.monotonic() - began < 0.1
        time.sleep(0.03)
    assert (tmp_path / "answers.jsonl").read_bytes() == b"", "no half line is left"
    assert log.lost == 5
    is_full = False
    log.close()
    assert [row["id"] for row in lines_of(tmp_path / "answers.jsonl")] == ["0-0", "1-0", "2-0", "3-0", "4-0"]
    assert len(caplog.records) == 1, "one line a minute"
    assert "No space left" in caplog.text


def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="answer_log"):
        AnswerLog(tmp_path / "file" / "log", log_texts=False, most_bytes=1, most_files=1)
