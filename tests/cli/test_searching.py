"""index and search on the command line: what is refused, before any model is loaded."""

from __future__ import annotations

import pytest
from commands import flipkd

TEXTS = "id,question\n007,how do I reset my pin\n008,where is my transfer\n"


@pytest.fixture
def faq(tmp_path):
    (tmp_path / "faq.csv").write_text(TEXTS, encoding="utf-8")
    return tmp_path / "faq.csv"


def test_what_cannot_be_an_encoder_says_why(faq, trained, taught, tmp_path):
    for encoder, word in ((trained, "reading=separate"), (tmp_path, "no folder of flipkd teach or flipkd train")):
        refused = flipkd("index", faq, "--encoder", encoder, "--output_dir", tmp_path / "x")
        assert refused.code == 4
        assert word in refused.err
        assert not (tmp_path / "x").exists()
    (tmp_path / "there").mkdir()
    again = flipkd("index", faq, "--encoder", taught, "--output_dir", tmp_path / "there")
    assert (again.code, "exists already" in again.err) == (5, True)
    taken = flipkd("index", faq, "--encoder", taught, "--output_dir", tmp_path / "x", "--keep", "score")
    assert (taken.code, "--keep score" in taken.err) == (2, True)


def test_the_result_is_told_in_a_line_and_a_question_needs_an_index(faq, taught, trained, tmp_path):
    done = flipkd("index", faq, "--encoder", taught, "--output_dir", tmp_path / "index", "--keep", "id")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{tmp_path / 'index'}: 2 texts, vectors of width ")
    words = ("search", "my pin", "--matcher", trained)
    assert flipkd(*words).code == 2
    assert flipkd(*words, "--index", tmp_path / "index", "--top_k", 0).code == 2
    empty = flipkd("search", " ", "--matcher", trained, "--index", tmp_path / "index")
    assert (empty.code, "the query is empty" in empty.err) == (3, True)
    none = flipkd(*words, "--index", tmp_path)
    assert (none.code, "make an index with flipkd index" in none.err) == (4, True)
