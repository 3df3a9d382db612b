"""flipkd index of LanceDB: build, add, update, delete, list, versions, rollback, compact; what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import flipkd

from flipkd.index import open_index

ROWS = [
    ("a1", "how do I change my pin", "en", 3),
    ("a2", "my card is lost", "en", 7),
    ("b1", "meine Karte ist weg", "de", 11),
]


def csv_of(path, rows):
    lines = ["sku,question,language,price", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def listed(index, *words):
    done = flipkd("index", "list", index, "--json", *words)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture(scope="module")
def encoder(tiny_matcher):
    return tiny_matcher(reading="separate")


@pytest.fixture
def index(encoder, tmp_path):
    file = csv_of(tmp_path / "faq.csv", ROWS)
    words = ("--engine", "lancedb", "--id", "sku", "--keep", "language,price", "--types", "price=int")
    done = flipkd("index", "build", file, "--encoder", encoder, *words, "--output_dir", tmp_path / "index")
    assert done.code == 0, done.err
    assert "3 texts, vectors of width" in done.out
    return tmp_path / "index"


def test_add_embeds_new_texts_only_and_rollback_undoes_it(index, encoder, tmp_path):
    changed = [("a1", ROWS[0][1], "en", 4), ("a2", "I cannot find my card", "en", 8), ("c1", "new question", "fr", "")]
    done = flipkd("index", "add", index, csv_of(tmp_path / "more.csv", changed))
    assert done.code == 0, done.err
    assert "version 2, 1 added, 2 replaced, 2 texts embedded" in done.out
    by_id = {row["id"]: row for row in listed(index)}
    assert by_id["a1"] == {"id": "a1", "text": ROWS[0][1], "language": "en", "price": 4}
    assert by_id["c1"]["price"] is None
    assert set(by_id) == {"a1", "a2", "b1", "c1"}
    assert [row["id"] for row in listed(index, "--where", "price > 4 and language = 'en'")] == ["a2"]
    assert len(listed(index, "--limit", 2)) == 2
    versions = flipkd("index", "versions", index, "--json")
    assert [json.loads(line)["entries"] for line in versions.out.splitlines()] == [4, 3]
    assert flipkd("index", "rollback", index, "--version", 1).code == 0
    assert {row["id"]: row["price"] for row in listed(index)} == {"a1": 3, "a2": 7, "b1": 11}


def test_update_delete_compact_and_search_with_a_filter(index, encoder, tmp_path):
    unknown = flipkd("index", "update", index, csv_of(tmp_path / "more.csv", [("x", "new", "en", 1)]))
    assert (unknown.code, "has no entry 'x'" in unknown.err) == (3, True)
    known = flipkd("index", "update", index, csv_of(tmp_path / "more.csv", [("b1", "meine Karte ist weg", "at", 12)]))
    assert "0 added, 1 replaced, 0 texts embedded" in known.out
    search = ("search", "my card", "--matcher", encoder, "--index", index)
    found = flipkd(*search, "--where", "language in ('at', 'de')")
    assert [json.loads(line)["id"] for line in found.out.splitlines()] == ["b1"]
    deleted = flipkd("index", "delete", index, "--ids", "a1,b1,none").out
    assert deleted.endswith("2 deleted; not in the index: 1 of the ids\n")
    assert "compacted" in flipkd("index", "compact", index, "--keep_days", 0).out
    [row] = [json.loads(line) for line in flipkd(*search).out.splitlines()]
    assert (row["id"], row["text"], row["price"]) == ("a2", "my card is lost", 7)
    assert np.isfinite(row["score"])


def test_index_add_takes_the_same_rows_without_ids_as_the_same_entry(encoder, tmp_path):
    file = csv_of(tmp_path / "faq.csv", [ROWS[0], ROWS[0], ROWS[1]])
    words = ("--encoder", encoder, "--engine", "lancedb", "--keep", "price", "--output_dir", tmp_path / "index")
    done = flipkd("index", file, *words)
    assert done.code == 0, done.err
    assert "1 rows are copies" in done.err
    added = flipkd("index", "add", tmp_path / "index", file)
    assert "0 added, 2 replaced, 0 texts embedded" in added.out
    assert len(open_index(tmp_path / "index")) == 2


def test_index_commands_refuse_wrong_arguments(index, encoder, tiny_matcher, tmp_path):
    faq, memory = tmp_path / "faq.csv", tmp_path / "memory"
    assert flipkd("index", faq, "--encoder", encoder, "--text", "question", "--output_dir", memory).code == 0
    other = tiny_matcher(reading="separate", threshold=0.5)
    twice = csv_of(tmp_path / "twice.csv", [ROWS[0], ROWS[0]])
    build = ("index", "build", faq, "--encoder", encoder, "--text", "question", "--output_dir", tmp_path / "new")
    for command, code, word in (
        (("index", "add", memory, faq), 4, "--engine lancedb"),
        (("search", "card", "--matcher", encoder, "--index", memory, "--where", "price = 1"), 4, "has no filters"),
        (("index", "add", index, faq, "--encoder", other), 4, "is not the model that made the index"),
        (("index", "add", index, twice), 3, "occurs twice"),
        (("index", "list", index, "--where", "prize = 1"), 4, "did you mean 'price'"),
        (("index", "delete", index), 2, "give the ids"),
        (("index", "delete", index, "--where", "price = 'x'"), 4, "cannot be used"),
        (("index", "rollback", index, "--version", 9), 4, "has no version 9; it has 1"),
        ((*build, "--id", "sku"), 4, "--id is for --engine lancedb"),
        ((*build, "--engine", "lancedb", "--types", "price=int"), 2, "is not kept"),
        ((*build, "--engine", "lancedb", "--keep", "language", "--types", "language=int"), 3, "is not of type int"),
        ((*build, "--engine", "sqlite"), 2, "memory"),
        (("index", "list", tmp_path / "nowhere"), 4, "no such folder"),
        (("index",), 0, ""),
    ):
        done = flipkd(*command)
        assert (done.code, word in done.err) == (code, True), (command, done.code, done.err)
    assert not (tmp_path / "new").exists()
    data = min((index / "entries.lance/data").iterdir())
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    damaged = flipkd("index", "list", index)
    assert (damaged.code, "sha256 mismatch" in damaged.err) == (4, True)
