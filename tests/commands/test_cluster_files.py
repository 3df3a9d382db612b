"""Clusters of records: same texts, weak matches, one file and two, and the files that are written."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flipkd.commands.cluster_files import cluster_records, write_clusters, write_weak_matches
from flipkd.commands.scored_pairs import ScoredPairs
from flipkd.data.records import Records
from flipkd.errors import DataError


def scored(*pairs):
    left, right, probability = (np.array(column) for column in zip(*pairs, strict=True))
    match = probability >= 0.5
    return ScoredPairs(left, right, probability, match, np.zeros(len(match), bool))


# rows 0-1-2 and 4-5 are sure; 2-4 is weak and alone between them; 0-2 is weak, and 0-1-2 hold without it; 6 repeats 3
ONE = Records("one", ["a", "b", "c", "d", "e", "f", " d", "h"], {})
PAIRS = scored((0, 1, 0.9), (1, 2, 0.95), (0, 2, 0.55), (2, 4, 0.58), (4, 5, 0.8), (3, 7, 0.2))


def test_clusters_and_their_weak_matches(tmp_path, caplog):
    found = cluster_records([ONE], PAIRS, weak_below=0.6)
    assert found.of_file(0) == [1, 1, 1, 4, 1, 1, 4, 8]
    assert found.weak.tolist() == [3]
    assert found.summary() == {
        "entities": 3, "clusters": 2, "clustered": 7, "largest": {"cluster": 1, "records": 5}, "weak": 1
    }  # fmt: skip
    write_weak_matches(tmp_path / "weak.csv", [ONE], PAIRS, found, guard=True)
    with (tmp_path / "weak.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert row == {
        "cluster": "1", "records": "5", "row1": "3", "row2": "5", "text1": "c", "text2": "e", "probability": "0.58"
    }  # fmt: skip
    assert "1 weak matches alone hold a cluster together: cluster 1 (5 records) by rows 3 and 5" in caplog.text


def test_cluster_records_of_two_files_are_numbered_one_after_another(tmp_path):
    left, right = Records("l", ["a", "b"], {}), Records("r", ["x", "b", "y"], {})
    pairs = scored((0, 2, 0.9), (0, 4, 0.55), (1, 4, 0.1))
    found = cluster_records([left, right], pairs, weak_below=0.6)
    assert (found.of_file(0), found.of_file(1)) == ([1, 2], [1, 2, 1])
    assert found.summary()["linked"] == 2
    write_weak_matches(tmp_path / "weak.csv", [left, right], pairs, found, guard=True)
    assert (tmp_path / "weak.csv").read_text().splitlines()[1] == "1,3,1,3,a,y,0.55"


def test_one_cluster_of_most_records_is_a_warning(caplog):
    records = Records("r", [f"text {row}" for row in range(40)], {})
    for matches, warned in ((20, False), (21, True)):
        cluster_records([records], scored(*((row, row + 1, 0.9) for row in range(matches - 1))), weak_below=0.6)
        assert (f"{matches} of 40 records are one cluster" in caplog.text) == warned


def test_a_sure_pair_beside_a_weak_one_is_no_bridge():
    assert cluster_records([ONE], scored((0, 1, 0.55), (0, 1, 0.9)), weak_below=0.6).weak.tolist() == []


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_rows_of_the_file_come_unchanged_behind_their_cluster(tmp_path, ending, monkeypatch):
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    rows = [{"n": 1, "text": "=1", "x": 0.5}, {"n": 2, "text": "a\nb", "x": None}, {"n": 3, "text": "", "x": 2.0}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    output = tmp_path / f"out.{ending}"
    write_clusters(str(tmp_path / "in.parquet"), output, [1, 1, 3], guard=False)
    expected = [{"cluster": c} | row for c, row in zip([1, 1, 3], rows, strict=True)]
    if ending == "csv":
        with output.open(newline="") as file:
            found = list(csv.DictReader(file))
        assert found == [{k: "" if v is None else str(v) for k, v in row.items()} for row in expected]
    elif ending == "jsonl":
        assert [json.loads(line) for line in output.read_text().splitlines()] == expected
    else:
        assert pq.read_table(output).to_pylist() == expected


@pytest.mark.scenario("B4")
@pytest.mark.parametrize("numbers", [[1, 1], [1, 1, 3, 4]])
def test_write_clusters_refuses_a_file_with_other_rows(tmp_path, numbers):
    (tmp_path / "in.csv").write_text("text\na\nb\nc\n")
    with pytest.raises(DataError, match="the file changed while it was read"):
        write_clusters(str(tmp_path / "in.csv"), tmp_path / "out.csv", numbers, guard=True)
    assert not (tmp_path / "out.csv").exists()
