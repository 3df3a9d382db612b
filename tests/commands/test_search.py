"""flipkd index and search: the encoder's nearest entries, scored by the matcher; another encoder is refused."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import flipkd, given, student
from servers import running
from tiny import SENTENCES

from flipkd.commands.search import checked_encoder, encoder_of
from flipkd.errors import ArtefactError, UsageError
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
def separate_run(tmp_path_factory, base_models, pair_files, taught):
    """Train a matcher with separate reading."""
    folder = tmp_path_factory.mktemp("apart") / "run"
    arguments = (*given(pair_files), *student(base_models["llama"], reading="separate", num_train_epochs=1))
    done = flipkd("train", *arguments, "--teacher", taught, "--output_dir", folder)
    assert done.code == 0, done.err
    return folder


def search_rows(*arguments):
    done = flipkd("search", *arguments)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_search_ranks_the_nearest_entries_by_score(indexed, trained, taught):
    query = "the machine kept my card"
    rows = search_rows(query, "--matcher", trained, "--index", indexed, "--top_k", 3, "--candidates", 5)
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


def test_search_with_large_top_k_returns_all_entries(indexed, trained):
    rows = search_rows("my card", "--matcher", trained, "--index", indexed, "--top_k", 100)
    assert sorted(row["corpus_id"] for row in rows) == list(range(8))


def test_index_accepts_a_matcher_with_separate_reading_as_encoder(faq, separate_run, tmp_path):
    done = flipkd("index", faq, "--encoder", separate_run, "--output_dir", tmp_path / "own")
    assert done.code == 0, done.err
    index, matcher = Index.load(tmp_path / "own"), Matcher.from_pretrained(separate_run)
    np.testing.assert_allclose(index.vectors, matcher.encode(SENTENCES), atol=1e-5)
    rows = search_rows("my card", "--matcher", separate_run, "--index", tmp_path / "own", "--top_k", 8)
    assert rows == matcher.search("my card", index, top_k=8)
    with pytest.raises(UsageError, match="candidates is 0"):
        matcher.search("my card", index, candidates=0)


def test_index_accepts_a_matcher_that_keeps_its_teacher_as_encoder(faq, with_teacher, indexed, tmp_path):
    done = flipkd("index", faq, "--encoder", with_teacher, "--output_dir", tmp_path / "kept")
    assert done.code == 0, done.err
    by_teacher, by_matcher = Index.load(indexed), Index.load(tmp_path / "kept")
    np.testing.assert_allclose(by_matcher.vectors, by_teacher.vectors, atol=1e-5)
    assert by_matcher.encoder["kind"] == "kept_teacher"
    rows = [
        search_rows("my card", "--matcher", with_teacher, "--index", index) for index in (indexed, tmp_path / "kept")
    ]
    assert [row["corpus_id"] for row in rows[0]] == [row["corpus_id"] for row in rows[1]]


def test_a_matcher_that_keeps_the_teacher_of_an_index_encodes_queries_with_it(with_teacher, indexed):
    matcher, index = Matcher.from_pretrained(with_teacher), Index.load(indexed)
    vector = matcher.teacher.embed(["my card"])[0]
    expected = matcher.search("my card", index, vector=vector)
    assert matcher.search("my card", index) == matcher.search("my card", index, vector=vector.tolist()) == expected
    index.encoder["folder"] = "moved"
    np.testing.assert_array_equal(encoder_of(index, None, matcher=matcher)(["my card"])[0], vector)
    with pytest.raises(ArtefactError, match="moved: not a folder"):
        encoder_of(index, "moved", matcher=matcher)


def test_encoder_of_is_the_model_that_made_the_index(faq, separate_run, trained, indexed, tmp_path):
    other = tmp_path / "other"  # same weights, other decisions: another matcher
    arguments = (
        "calibrate",
        "--matcher",
        separate_run,
        "--validation_file",
        faq.parent / "pairs.csv",
        "--threshold",
        0.5,
    )
    (faq.parent / "pairs.csv").write_text("text1,text2,label\n" + "a b,a b,1\nc d,e f,0\n" * 12)
    assert flipkd(*arguments, "--output_dir", other).code == 0
    assert flipkd("index", faq, "--encoder", separate_run, "--output_dir", tmp_path / "own").code == 0
    index, scorer = Index.load(tmp_path / "own"), Matcher.from_pretrained(other)
    encoder = Matcher.from_pretrained(separate_run)
    assert encoder_of(index, None, matcher=encoder).__closure__[0].cell_contents is encoder
    assert encoder_of(index, None, matcher=scorer).__closure__[0].cell_contents is not scorer
    with_other_teacher = Index.load(indexed)
    with_other_teacher.encoder["fingerprint"] = "another"
    for matcher, built in ((scorer, index), (Matcher.from_pretrained(trained), with_other_teacher)):
        with pytest.raises(UsageError, match="another model made this index"):
            matcher.search("my card", built)


@pytest.mark.slow
def test_server_search_equals_the_command(indexed, trained):
    query = "the machine kept my card"
    arguments = ("--matcher", trained, "--index", indexed)
    expected = search_rows(query, *arguments, "--top_k", 3)
    command = (sys.executable, "-m", "flipkd", "serve", *arguments, "--port", 0)
    with running(*command, first_line_on="stderr") as server:
        server.until_ready()
        assert server.request("/info").json["index_size"] == 8
        rows = server.request("/search", {"query": query, "top_k": 3}).json["results"]
    for row, same in zip(rows, expected, strict=True):
        assert row.pop("truncated") is False
        assert row.pop("answer_id")
        for name in ("score", "similarity", "probability"):
            assert row.pop(name) == pytest.approx(same.pop(name), abs=1e-5)
        assert row == same


@pytest.mark.scenario("S16")
@pytest.mark.parametrize("folder", ["a\0b", "x" * 5000, "", None])
def test_checked_encoder_refuses_the_folder_of_a_forged_index(folder):
    with pytest.raises(ArtefactError, match="--encoder"):
        checked_encoder(SimpleNamespace(encoder={"folder": folder, "fingerprint": "x"}), None)


def test_search_refuses_another_encoder(faq, indexed, trained, separate_run, taught, tmp_path):
    wrong = flipkd("search", "my card", "--matcher", trained, "--index", indexed, "--encoder", separate_run)
    assert wrong.code == 4
    assert "is not the model that made the index" in wrong.err
    moved = tmp_path / "moved"
    shutil.copytree(taught, moved)
    built = flipkd("index", faq, "--encoder", moved, "--output_dir", tmp_path / "index")
    assert built.code == 0, built.err
    shutil.rmtree(moved)
    with pytest.raises(ArtefactError, match="--encoder"):
        checked_encoder(Index.load(tmp_path / "index"), None)
    keeps_it = search_rows("my card", "--matcher", trained, "--index", tmp_path / "index")
    assert keeps_it == search_rows("my card", "--matcher", trained, "--index", tmp_path / "index", "--encoder", taught)
