"""retrieval-set: clusters of matches become judgements, no relevant text is missing, and the files can be measured."""

from __future__ import annotations

import csv
import json

from command_line import flipkd

from flipkd.data.pairs import read_pairs


def rows_of(path):
    with open(path, encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_relevant_documents_are_those_of_a_search_through_the_matches(pair_files, taught, tmp_path):
    done = flipkd("retrieval-set", pair_files["test"], "--output_dir", tmp_path / "set")
    assert done.code == 0, done.err
    pairs = read_pairs(pair_files["test"])
    rows = list(zip(pairs["text1"][:], pairs["text2"][:], pairs["label"][:], strict=True))
    edges = [(a, b) for a, b, label in rows if label == 1 and a != b]

    def cluster(text):
        found = {text}
        while more := {y for a, b in edges for x, y in ((a, b), (b, a)) if x in found} - found:
            found |= more
        return found

    files = {name: tmp_path / "set" / f"{name}.csv" for name in ("queries", "documents", "qrels")}
    queries, documents = (
        {row["id"]: row["text"] for row in rows_of(files[name])} for name in ("queries", "documents")
    )
    assert {*documents.values()} == {text for a, b, _ in rows for text in (a, b)}
    assert {*queries.values()} == {a for a, _ in edges}
    judged = {(queries[row["query_id"]], documents[row["doc_id"]]) for row in rows_of(files["qrels"])}
    assert judged == {(a, text) for a, _ in edges for text in cluster(a) - {a}}
    words = [f"--{name}={file}" for name, file in files.items()]
    measured = flipkd("retrieval", *words, "--encoder", taught, "--no-bm25", "--json")
    assert measured.code == 0, measured.err
    assert json.loads(measured.out)


def test_retrieval_set_refuses_pairs_without_a_match(tmp_path):
    (tmp_path / "p.csv").write_text("text1,text2,label\na,b,0\nc,c,1\n")
    done = flipkd("retrieval-set", tmp_path / "p.csv", "--output_dir", tmp_path / "set")
    assert done.code == 3
    assert "has no match of two different texts" in done.err
    assert not (tmp_path / "set").exists()
