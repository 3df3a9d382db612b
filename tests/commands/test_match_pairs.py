"""stored_pairs: the blocks of a file as read_blocks gives them, from one reading of the file."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import flipkd

from flipkd.commands.match_pairs import stored_pairs
from flipkd.data import pairs
from flipkd.data.pairs import read_blocks

TEXTS = ["my card", "caf\u00e9\n", "\u202e,\"'", "\U0001f469", "x\u2028y"]
ROWS = [{"text1": text, "text2": f"{text} {number}", "id": number / 3} for number, text in enumerate(TEXTS)]


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def pairs_file(request, tmp_path) -> str:
    path = tmp_path / f"p.{request.param}"
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif request.param == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["text1", "text2", "id"], *(row.values() for row in ROWS)])
    return str(path)


def test_blocks_are_those_of_read_blocks(pairs_file, monkeypatch):
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    expected = list(read_blocks(pairs_file, keep=["id"]))
    assert [text for block in expected for text in block.left] == TEXTS
    with stored_pairs(pairs_file, columns=None, keep=["id"]) as stored:
        assert stored.count == len(ROWS)
        assert list(stored.blocks()) == expected


def test_match_reads_a_file_once(trained, pairs_file, tmp_path, monkeypatch):
    opened, open_source = [], pairs.open_source
    monkeypatch.setattr(pairs, "open_source", lambda path: opened.append(path) or open_source(path))
    done = flipkd("match", "--matcher", trained, pairs_file, "--output", tmp_path / "o.jsonl")
    assert done.code == 0, done.err
    assert opened == [pairs_file]
    lines = (tmp_path / "o.jsonl").read_text(encoding="utf-8").strip().split("\n")
    assert [json.loads(line)["text1"] for line in lines] == TEXTS
