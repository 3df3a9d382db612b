"""flipkd index and search: the nearest by the encoder, judged by the matcher; a model that does not fit is refused."""

import json
import shutil
import sys

import numpy as np
import pytest
from command_line import flipkd, given, student
from servers import running
from tiny import SENTENCES

from flipkd.commands.search import encoder_of
from flipkd.errors import UsageError
from flipkd.index import Index
from flipkd.matcher import Matcher


@pytest.fixture(scope="module")
def faq(tmp_path_factory):
    file = tmp_path_factory.mktemp("faq") / "faq.csv"
    file.write_text("id,question\n" + "".join(f"00{i},{text}\n" for i, text in enumerate(SENTENCES)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, faq, taught):
    folder = tmp_path_factory.mktemp("indexed") / "index"
    done = flipkd("index", faq, "--encoder", taught, "--output_dir", folder, "--keep", "id")
    assert done.code == 0, done.err
    assert "8 texts" in done.out
    return folder


@pytest.fixture(scope="module")
def apart(tmp_path_factory, base_models, pair_files, taught):
    """A run whose matcher reads texts apart."""
    folder = tmp_path_factory.mktemp("apart") / "run"
    words = (*given(pair_files), *student(base_models["llama"], reading="separate", num_train_epochs=1))
    done = flipkd("train", *words, "--teacher", taught, "--output_dir", folder)
    assert done.code == 0, done.err
    return folder


def found(*words):
    done = flipkd("search", *words)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_the_matcher_ranks_what_the_encoder_found(indexed, trained, taught):
    query = "the machine kept my card"
    rows = found(query, "--matcher", trained, "--index", indexed, "--top_k", 3, "--candidates", 5)
    assert len(rows) == 3
    index, matcher = Index.load(indexed), Matcher.from_pretrained(trained)
    vector = index.vectors[SENTENCES.index(query)]  # the query is one of the texts
    near = [position for position, _ in index.nearest(vector, top_k=5)]
    pairs = [(query, SENTENCES[position]) for position in near]
    scores = matcher.predict(pairs)
    order = np.argsort(-scores, kind="stable")[:3]
    assert [row["corpus_id"] for row in rows] == [near[place] for place in order]
    assert [row["score"] for row in rows] == pytest.approx(scores[order].tolist(), abs=1e-5)
    assert [row["decision"] for row in rows] == matcher.decisions(scores[order])
    assert [row["probability"] for row in rows] == pytest.approx(matcher.calibration.apply(scores[order]).tolist())
    for row in rows:
        assert row["text"] == SENTENCES[row["corpus_id"]]
        assert row["id"] == f"00{row['corpus_id']}"
        assert row["similarity"] == pytest.approx(float(index.vectors[row["corpus_id"]] @ vector), abs=1e-5)


def test_more_than_there_are_is_all_there_are(indexed, trained):
    rows = found("my card", "--matcher", trained, "--index", indexed, "--top_k", 100)
    assert sorted(row["corpus_id"] for row in rows) == list(range(8))


def test_a_matcher_that_reads_apart_can_be_the_encoder(faq, apart, tmp_path):
    done = flipkd("index", faq, "--encoder", apart, "--output_dir", tmp_path / "own")
    assert done.code == 0, done.err
    index, matcher = Index.load(tmp_path / "own"), Matcher.from_pretrained(apart)
    np.testing.assert_allclose(index.vectors, matcher.encode(SENTENCES), atol=1e-5)
    rows = found("my card", "--matcher", apart, "--index", tmp_path / "own", "--top_k", 8)
    assert rows == matcher.search("my card", index, top_k=8)
    with pytest.raises(UsageError, match="candidates is 0"):
        matcher.search("my card", index, candidates=0)


def test_the_model_that_made_the_index_encodes_the_question_whoever_judges(faq, apart, trained, indexed, tmp_path):
    other = tmp_path / "other"  # reads apart as well, with other decisions: another matcher
    words = ("calibrate", "--matcher", apart, "--validation_file", faq.parent / "pairs.csv", "--threshold", 0.5)
    (faq.parent / "pairs.csv").write_text("text1,text2,label\n" + "a b,a b,1\nc d,e f,0\n" * 12)
    assert flipkd(*words, "--output_dir", other).code == 0
    assert flipkd("index", faq, "--encoder", apart, "--output_dir", tmp_path / "own").code == 0
    index, judge = Index.load(tmp_path / "own"), Matcher.from_pretrained(other)
    maker = Matcher.from_pretrained(apart)
    assert encoder_of(index, None, matcher=maker).__closure__[0].cell_contents is maker
    assert encoder_of(index, None, matcher=judge).__closure__[0].cell_contents is not judge
    for matcher, made in ((judge, index), (Matcher.from_pretrained(trained), Index.load(indexed))):
        with pytest.raises(UsageError, match="another model made this index"):
            matcher.search("my card", made)


@pytest.mark.slow
def test_the_server_finds_what_the_command_finds(indexed, trained):
    query = "the machine kept my card"
    words = ("--matcher", trained, "--index", indexed)
    expected = found(query, *words, "--top_k", 3)
    command = (sys.executable, "-m", "flipkd", "serve", *words, "--port", 0)
    with running(*command, first_line_on="stderr") as server:
        server.until_ready()
        assert server.ask("/info").json["index_size"] == 8
        rows = server.ask("/search", {"query": query, "top_k": 3}).json["results"]
    for row, same in zip(rows, expected, strict=True):
        assert row.pop("truncated") is False
        for name in ("score", "similarity", "probability"):
            assert row.pop(name) == pytest.approx(same.pop(name), abs=1e-5)
        assert row == same


def test_another_encoder_than_the_one_that_made_it_is_refused(faq, indexed, trained, apart, taught, tmp_path):
    wrong = flipkd("search", "my card", "--matcher", trained, "--index", indexed, "--encoder", apart)
    assert wrong.code == 4
    assert "is not the model that made the index" in wrong.err
    moved = tmp_path / "moved"
    shutil.copytree(taught, moved)
    made = flipkd("index", faq, "--encoder", moved, "--output_dir", tmp_path / "index")
    assert made.code == 0, made.err
    shutil.rmtree(moved)
    lost = flipkd("search", "my card", "--matcher", trained, "--index", tmp_path / "index")
    assert (lost.code, "--encoder" in lost.err) == (4, True)
    assert found("my card", "--matcher", trained, "--index", tmp_path / "index", "--encoder", taught)
