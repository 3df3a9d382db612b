"""flipkd candidates: the union of its rules against plain loops, its files, its refusals."""

from __future__ import annotations

import csv
import json
from itertools import combinations, product

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import flipkd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flipkd.command_config import CandidatesConfig
from flipkd.commands import candidates as command
from flipkd.commands.candidates import candidates, candidates_text

RECORD = st.tuples(
    st.sampled_from(["red pen", "red  pen", "blue pen", "ink", "blue ink", "cap"]), st.sampled_from("xyX ")
)
RECORDS = st.lists(RECORD, min_size=1, max_size=8)
VECTORS = {"red pen": [1, 0], "blue pen": [0.75, 0.5], "ink": [0, 1], "blue ink": [0.5, 0.75], "cap": [-1, 0]}


def write(path, records):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "brand"), *records])
    return str(path)


def vectors_of(encoder, texts, *, store, base_model):
    return np.array([VECTORS[text] for text in texts], np.float32)


def by_loops(left, right, *, top_k, min_words, distinct):
    """{(row1, row2): rules} of the rules same_text, neighbours, words and equal:brand, from 0."""
    sides = [left, left if right is None else right]
    normal = [[" ".join(text.split()) for text, _ in side] for side in sides]
    first = [[texts.index(text) for text in texts] for texts in normal]
    near = {}
    for text in set(normal[0]):
        others = [other for other in dict.fromkeys(normal[1]) if right is not None or other != text]
        near[text] = sorted(others, key=lambda other, t=text: -np.dot(VECTORS[t], VECTORS[other]))[:top_k]
    found: dict[tuple[int, int], set[str]] = {}
    pairs = combinations(range(len(left)), 2) if right is None else product(range(len(left)), range(len(right)))
    for i, j in pairs:
        a, b, brands = normal[0][i], normal[1][j], [sides[0][i][1].strip().lower(), sides[1][j][1].strip().lower()]
        rules = {
            "same_text": a == b,
            "neighbours": b in near[a] or (right is None and a in near[b]),
            "words": len(set(a.split()) & set(b.split())) >= min_words and (a != b or right is not None),
            "equal:brand": brands[0] == brands[1] != "",
        }
        key = (first[0][i], first[1][j]) if distinct else (i, j)
        key = (min(key), max(key)) if right is None else key
        if key[0] != key[1] or right is not None:
            found.setdefault(key, set()).update(rule for rule, hit in rules.items() if hit)
    return {pair: rules for pair, rules in found.items() if rules}


@settings(deadline=None, max_examples=60)
@given(RECORDS, st.none() | RECORDS, st.integers(1, 3), st.integers(1, 2), st.booleans())
@example([("red pen", "x"), ("blue pen", "x")], [("blue ink", "x"), ("red pen", "y")], 1, 2, False)  # a tie of cosines
def test_the_candidates_are_those_of_plain_loops(tmp_path_factory, left, right, top_k, min_words, distinct):
    folder = tmp_path_factory.mktemp("c")
    config = CandidatesConfig(
        left=write(folder / "l.csv", left), right=None if right is None else write(folder / "r.csv", right),
        output=str(folder / "o.jsonl"), encoder="any", top_k=top_k, min_word_overlap=min_words, equal=["brand"],
        text=["text"], distinct=distinct,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flipkd.commands.text_vectors.text_vectors", vectors_of)
        patch.setattr(command, "BLOCK", 2)
        result = candidates(config)
    rows = [json.loads(line) for line in (folder / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = by_loops(left, right, top_k=top_k, min_words=min_words, distinct=distinct)
    assert [(row["row1"] - 1, row["row2"] - 1) for row in rows] == sorted(expected)
    assert [set(row["rules"].split("|")) for row in rows] == [expected[pair] for pair in sorted(expected)]
    for row in rows:
        texts = left[row["row1"] - 1][0], (left if right is None else right)[row["row2"] - 1][0]
        assert (row["text1"], row["text2"]) == texts
        cosine = np.dot(*(VECTORS[" ".join(text.split())] for text in texts))
        assert row["similarity"] == pytest.approx(cosine)
    assert result["rules"]["total"]["pairs"] == len(rows)


HOSTILE = ["=1+1", "two\nlines", 'a "b", c', "日本 😀", "\u202emy card", "{{7*7}}", "\tx", "cafe\u0301"]


@pytest.fixture
def hostile(tmp_path):
    """Two files whose columns and values are as awkward as they may be."""
    names = ["a+b", "x=y", "the text", "=cmd"]
    for name, brand in (("left", "Acme"), ("right", " ACME.")):
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *([brand, str(n), text, "@A1+1"] for n, text in enumerate(HOSTILE))])
    return tmp_path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_candidates_keeps_hostile_columns_and_values(hostile, ending):
    output = hostile / f"o.{ending}"
    words = (hostile / "left.csv", hostile / "right.csv", "--text", "the text", "--id", "x=y", "--output", output)
    done = flipkd("candidates", *words, "--equal", "a+b", "--keep", "=cmd", "--no-guard")
    assert done.code == 0, done.err
    if ending == "csv":
        with output.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    elif ending == "jsonl":
        rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pq.read_table(output).to_pylist()
    assert len(rows) == len(HOSTILE) ** 2
    assert list(rows[0]) == [
        "row1", "row2", "id1", "id2", "text1", "text2", "similarity", "rules", "=cmd1", "=cmd2"
    ]  # fmt: skip
    assert [row["text2"] for row in rows[: len(HOSTILE)]] == HOSTILE
    assert rows[1]["rules"] == "equal:a+b"
    assert {row["=cmd1"] for row in rows} == {"@A1+1"}
    assert "| equal:a+b | 64 " in done.out
    if ending == "csv":
        guarded = flipkd("candidates", *words, "--equal", "a+b", "--keep", "=cmd")
        assert guarded.code == 0, guarded.err
        assert "'=1+1" in output.read_text(encoding="utf-8")


def test_an_equal_rule_may_join_columns_and_name_those_of_the_second_file(tmp_path):
    (tmp_path / "l.csv").write_text("text,brand,year\na,Acme,1\nb,acme,2\nc,Bolt,1\n")
    (tmp_path / "r.csv").write_text("title,maker,year\nd,ACME,1\ne,Bolt,2\nf,,1\n")
    words = (tmp_path / "l.csv", tmp_path / "r.csv", "--text_right", "title", "--output", tmp_path / "o.jsonl")
    for rule, pairs in (("brand=maker", [(1, 1), (2, 1), (3, 2)]), ("year+brand=maker", [(1, 1)]), ("year", None)):
        done = flipkd("candidates", *words, "--equal", rule)
        assert done.code == 0, done.err
        rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
        found = [(row["row1"], row["row2"]) for row in rows]
        assert found == (pairs or [(1, 1), (1, 3), (2, 2), (3, 1), (3, 3)])


@pytest.mark.parametrize("words", [["--text", "name"], ["--text_right", "title", "--id", "sku"], ["--equal", "sku"]])
def test_a_column_that_only_the_first_file_has_names_the_options_of_the_second(tmp_path, words):
    (tmp_path / "l.csv").write_text("text,name,sku\na,b,1\n")
    (tmp_path / "r.csv").write_text("title,article\nd,7\n")
    files = (tmp_path / "l.csv", tmp_path / "r.csv", "--output", tmp_path / "o.csv", "--min_word_overlap", 1)
    done = flipkd("candidates", *files, *words)
    assert done.code == 3
    assert "where its names differ, give --text_right, --id_right and --equal LEFT=RIGHT" in done.err


def test_candidates_limits_broad_values_and_many_copies_with_a_warning(tmp_path):
    rows = [f"text {n % 2},Acme" for n in range(8)]
    (tmp_path / "l.csv").write_text("text,brand\n" + "\n".join(rows))
    words = (tmp_path / "l.csv", "--output", tmp_path / "o.csv", "--equal", "brand", "--max_group", 3)
    done = flipkd("candidates", *words)
    assert done.code == 0, done.err
    assert "values that more than 3 records have are skipped: 1, such as 'acme'" in done.err
    assert "2 texts have more than 3 copies; only the first 3 of each are paired" in done.err
    assert "6 of 28 pairs are candidates" in done.out


def test_known_matches_give_the_recall_of_each_rule(tmp_path):
    (tmp_path / "l.csv").write_text("id,text,brand\na,red pen,x\nb,a red pen,y\nc,ink,x\n")
    (tmp_path / "k.csv").write_text("id1,id2\nb,a\na,c\nc,b\n")
    words = (tmp_path / "l.csv", "--output", tmp_path / "o.csv", "--id", "id", "--labels", tmp_path / "k.csv")
    done = flipkd("candidates", *words, "--equal", "brand", "--min_word_overlap", 2)
    assert done.code == 0, done.err
    assert "| total       | 2     | 2                 | 2             | 0.6667 |" in done.out
    rules = json.loads((tmp_path / "o.recall.json").read_text())["rules"]
    assert {rule: counts["recall"] for rule, counts in rules.items()} == pytest.approx(
        {"same_text": 0, "words": 1 / 3, "equal:brand": 1 / 3, "total": 2 / 3}
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--output", "o.csv"], 2, "no rule makes candidates"),
        (["--output", "o.xlsx", "--equal", "text"], 2, "unknown file type"),
        (["--output", "o.csv", "--equal", "text", "--min_similarity", "0.9"], 2, "is for nearest neighbours"),
        (["--output", "o.csv", "--equal", "brnd"], 3, "did you mean 'brand'?"),
        (["--output", "o.csv", "--equal", "brand=text"], 2, "A=B is for two files"),
        (["--output", "o.csv", "--equal", "text", "--keep", "brnd"], 3, "did you mean 'brand'?"),
        (["--output", "o.csv", "--equal", "text", "--keep", "text"], 2, "the result cannot have the columns text1"),
        (["--output", "o.csv", "--equal", "text", "--id_right", "id"], 2, "are for a second file"),
        (["--output", "l.csv", "--equal", "text"], 2, "is the input file"),
        (["--output", "mine.csv", "--equal", "text"], 5, "is no earlier result of this command"),
        (["--output", "o.csv", "--encoder", "/no/such/folder"], 4, "/no/such/folder: no such folder"),
        (["--output", "o.csv", "--equal", "text", "--top_k", "-1"], 2, "top_k is -1"),
    ],
)
def test_candidates_refuses_settings_that_cannot_be_used(tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l.csv").write_text("text,brand\na,b\n")
    (tmp_path / "mine.csv").write_text("my,own\n1,2\n")
    done = flipkd("candidates", "l.csv", *words)
    assert (done.code, message in done.err) == (code, True), done.err
    assert (tmp_path / "mine.csv").read_text() == "my,own\n1,2\n"


def test_candidates_replaces_an_earlier_result(tmp_path):
    (tmp_path / "l.csv").write_text("text,brand\na,b\nc,b\n")
    for name in ("o.csv", "o.parquet"):
        words = ("candidates", tmp_path / "l.csv", "--output", tmp_path / name, "--equal", "brand")
        assert [flipkd(*words).code for _ in range(2)] == [0, 0]


@pytest.mark.scenario("B5")
@pytest.mark.parametrize("name", ["o.csv", "o.jsonl", "o.parquet"])
def test_candidates_leaves_nothing_on_a_full_disk(tmp_path, monkeypatch, name):
    (tmp_path / "l.csv").write_text("text,brand\na,b\nc,b\n")
    done = _on_a_full_disk(
        monkeypatch, "candidates", tmp_path / "l.csv", "--output", tmp_path / name, "--equal", "brand"
    )
    assert (done.code, "the disk is full" in done.err) == (5, True), done.err
    assert [path.name for path in tmp_path.iterdir()] == ["l.csv"]


def _on_a_full_disk(monkeypatch, *words):
    import os

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        return flipkd(*words)


FOUND = {
    "records": [1000, 20],
    "possible": 20000,
    "known": None,
    "rules": {"words": {"pairs": 50, "only": 50}, "total": {"pairs": 50, "only": 50}},
}


def test_candidates_have_a_row_for_each_rule():
    text = candidates_text(FOUND)
    assert "| words | 50    | 50                |" in text
    assert text.endswith("1,000 x 20 records: 50 of 20,000 pairs are candidates (0.25 %)")
    assert candidates_text(FOUND | {"possible": 50}).endswith("50 of 50 pairs are candidates (100 %)")
    measured = {rule: counts | {"found": 3, "recall": 0.75} for rule, counts in FOUND["rules"].items()}
    text = candidates_text(FOUND | {"known": 4, "rules": measured})
    assert "| known matches | recall |" in text
    assert text.endswith("; 4 known matches")
