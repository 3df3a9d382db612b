"""Memory: labels of reviewed pairs decide before the matcher, in either order of the texts, and an empty one changes nothing."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import flipkd

from flipkd.commands.memory import Memory
from flipkd.errors import DataError
from flipkd.matcher import Matcher


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["text1", "text2", "label"], *rows])
    return str(path)


def matched(trained, pairs, *words):
    done = flipkd("match", "--matcher", trained, pairs, *words)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_known_pairs_get_their_label_and_the_others_their_score(trained, pair_files, tmp_path):
    plain = matched(trained, pair_files["test"])
    wrong = [(row["text2"].upper(), f" {row['text1']} ", int(row["decision"] != "match")) for row in plain[:6]]
    rows = matched(trained, pair_files["test"], "--memory", write(tmp_path / "m.csv", wrong))
    known = {frozenset((row["text1"], row["text2"])) for row in plain[:6]}
    for before, after in zip(plain, rows, strict=True):
        if frozenset((before["text1"], before["text2"])) in known:
            assert after["scored_by"] == "memory"
            assert (after["decision"] == "match") != (before["decision"] == "match")
            assert abs(after["probability"] - (after["decision"] == "match")) < 0.01
        else:
            assert after == before | {"scored_by": "student"}


def test_a_folder_of_results_has_the_memory_too_and_another_memory_is_another_folder(trained, pair_files, tmp_path):
    first = matched(trained, pair_files["test"])[0]
    reviewed = write(tmp_path / "m.csv", [(first["text1"], first["text2"], int(first["decision"] != "match"))])
    words = ("match", "--matcher", trained, pair_files["test"], "--output_dir", tmp_path / "out")
    assert flipkd(*words, "--memory", reviewed).code == 0
    (part,) = (tmp_path / "out").glob("part-*.parquet")
    row = pq.read_table(part).to_pylist()[0]
    assert (row["scored_by"], row["decision"] != first["decision"]) == ("memory", True)
    assert flipkd(*words).code == 4, "the folder holds results with a memory"


def test_a_memory_of_other_pairs_gives_the_matcher_alone_and_one_of_the_test_pairs_is_perfect(
    trained, pair_files, tmp_path
):
    words = ("evaluate", "--matcher", trained, "--test_file", pair_files["test"], "--json")
    done = flipkd(*words)
    assert done.code == 0, done.err
    alone = json.loads(done.out)
    done = flipkd(*words, "--memory", write(tmp_path / "m.csv", [("x", "y", 1), ("z", "w", 0)]))
    assert done.code == 0, done.err
    other = json.loads(done.out)
    assert other == alone | {"by_memory": 0.0}
    same = json.loads(flipkd(*words, "--memory", pair_files["test"]).out)
    assert (same["f1"], same["by_memory"]) == (1.0, 1.0)


@pytest.mark.parametrize("changes", [{}, {"review_threshold": None}, {"threshold": 50.0}])
def test_scores_of_known_pairs_are_on_the_right_side_of_every_threshold(tiny_matcher, changes, tmp_path):
    matcher = Matcher.from_pretrained(tiny_matcher(**changes))
    memory = Memory(write(tmp_path / "m.csv", [("a", "b", 1), ("c", "d", 0)]))
    scores = memory.scores(memory.labels([("b", "A"), ("d", "c")]), matcher)
    assert matcher.decisions(scores) == ["match", "no_match"]
    assert np.isfinite(scores).all()


def test_a_directed_memory_keeps_the_order(tmp_path):
    path = write(tmp_path / "m.csv", [("a", "b", 1), ("b", "a", 0), ("c", "d", 1)])
    memory = Memory(path, directed=True)
    assert memory.labels([("a", "b"), ("b", "a"), ("d", "c")]).tolist() == [1, 0, -1]
    assert len(memory) == 3


def test_memory_refuses_a_pair_with_both_labels(tmp_path):
    path = write(tmp_path / "m.csv", [("a", "b", 1), ("B", "A", 0)])
    with pytest.raises(DataError, match="has both labels"):
        Memory(path)
    assert len(Memory(path, directed=True)) == 2


def test_a_memory_has_its_own_columns_where_those_of_the_test_pairs_are_named(trained, pair_files, tmp_path):
    test = tmp_path / "t.csv"
    with open(pair_files["test"], encoding="utf-8") as handle:
        test.write_text(handle.read().replace("text1", "first one", 1), encoding="utf-8")
    words = ("--matcher", trained, "--columns.text1", "first one", "--memory", pair_files["test"])
    done = flipkd("evaluate", "--test_file", test, *words, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["by_memory"] == 1
    done = flipkd("match", test, *words)
    assert {json.loads(line)["scored_by"] for line in done.out.splitlines()} == {"memory"}
