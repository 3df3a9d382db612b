"""flipkd retrieval: BM25, an encoder and a matcher on files of queries, documents and judgements."""

import json

import numpy as np
import pytest
from command_line import flipkd
from tiny import SENTENCES

from flipkd.commands.retrieval import by_vectors, by_words
from flipkd.matcher import Matcher
from flipkd.teachers.stored_teacher import StoredTeacher


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    documents = [f"d{number},{text}" for number, text in enumerate(SENTENCES)]
    (folder / "documents.csv").write_text("id,text\n" + "\n".join(documents) + "\n", encoding="utf-8")
    (folder / "queries.csv").write_text("id,text\nq0,lost my card\nq1,zzz\nq2,unjudged\n", encoding="utf-8")
    (folder / "qrels.csv").write_text("query_id,doc_id,relevance\nq0,d0,1\nq0,gone,1\nq1,d1,2\n", encoding="utf-8")
    return folder


def given(folder):
    return [
        *("--queries", folder / "queries.csv", "--documents", folder / "documents.csv"),
        *("--qrels", folder / "qrels.csv"),
    ]


def test_every_system_is_measured_and_compared(files, taught, trained, tmp_path):
    output = tmp_path / "result.json"
    systems = ("--encoder", taught, "--matcher", trained, "--candidates", 3)
    done = flipkd("retrieval", *given(files), *systems, "--output", output, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert list(found["systems"]) == ["bm25", "encoder", "bm25 + matcher", "encoder + matcher"]
    assert (found["queries"], found["documents"], found["candidates"]) == (2, len(SENTENCES), 3)
    assert "1 of 3 queries have no relevant document" in done.err
    assert "1 relevant documents are not in" in done.err
    compared = [(row["a"], row["b"]) for row in found["differences"]]
    assert compared == [
        ("encoder", "bm25"),
        ("bm25 + matcher", "bm25"),
        ("encoder + matcher", "encoder"),
        ("encoder + matcher", "bm25 + matcher"),
    ]
    written = json.loads(output.read_text(encoding="utf-8"))
    each = written.pop("per_query")
    assert written == found
    for name, metrics in found["systems"].items():
        assert metrics["map@100"] == pytest.approx(np.mean([each[name][query]["map@100"] for query in ("q0", "q1")]))
    # A word that no document has: BM25 finds nothing, and there is nothing to rank again.
    assert set(each["bm25"]["q1"].values()) == set(each["bm25 + matcher"]["q1"].values()) == {0.0}
    assert "| encoder + matcher |" in flipkd("retrieval", *given(files), *systems).out


def test_the_matcher_ranks_the_first_documents_again_and_no_other(files, taught, trained, tmp_path):
    (tmp_path / "qrels.csv").write_text("query_id,doc_id,relevance\nq0,d0,1\n", encoding="utf-8")
    query, matcher = "lost my card", Matcher.from_pretrained(trained)
    [first] = by_vectors([query], SENTENCES, taught, top_k=100)
    best = [first[row["corpus_id"]] for row in matcher.rank(query, [SENTENCES[position] for position in first[:3]])]
    place = [*best, *first[3:]].index(0) + 1
    arguments = [
        *given(files)[:-1],
        tmp_path / "qrels.csv",
        "--encoder",
        taught,
        "--matcher",
        trained,
        "--candidates",
        3,
    ]
    found = json.loads(flipkd("retrieval", *arguments, "--json").out)
    assert found["systems"]["encoder + matcher"]["mrr@10"] == pytest.approx(1 / place)


@pytest.mark.parametrize(
    "changed, code, message",
    [
        (["--no-bm25"], 2, "nothing finds documents"),
        (["--qrels", "queries.csv"], 3, "has no column of the names query_id"),
    ],
)
def test_retrieval_refuses_a_call_that_cannot_work(files, changed, code, message):
    words = [files / word if word.endswith(".csv") else word for word in changed]
    done = flipkd("retrieval", *given(files), *words)
    assert done.code == code
    assert message in done.err


def test_by_words_prefers_the_rarer_word_as_bm25():
    documents = ["card card bank", "card blocked", "bank hours", "card lost"]
    assert by_words(["blocked card"], documents, top_k=2)[0][0] == 1
    assert by_words(["unknown words", "!"], documents, top_k=2) == [[], []]
    assert by_words(["hours"], documents, top_k=9) == [[2]]


def test_by_vectors_ranks_by_cosine(taught):
    query = "the machine kept my card"
    [found] = by_vectors([query], SENTENCES, taught, top_k=4)
    vectors = StoredTeacher(taught).vectors([query, *SENTENCES])
    assert found == (-(vectors[1:] @ vectors[0])).argsort(kind="stable")[:4].tolist()
