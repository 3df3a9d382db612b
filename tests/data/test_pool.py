"""read_pool: pairs or single texts, without labels."""

from __future__ import annotations

import pytest

from flipkd.data.pool import read_pool
from flipkd.errors import DataError


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_read_pool_of_pairs_ignores_labels(tmp_path):
    path = write(tmp_path / "p.csv", "question1,question2,is_duplicate\na,b,5 of 5\nc,d,\n")
    pool = read_pool(path)
    assert pool.dataset.to_dict() == {"text1": ["a", "c"], "text2": ["b", "d"]}
    assert (pool.alone, pool.labels) == (False, "is_duplicate")
    path = write(tmp_path / "q.csv", "title,offer,text\na,b,x\n")
    pool = read_pool(path, columns={"text1": "title", "text2": "offer", "label": "not there"})
    assert pool.dataset.to_dict() == {"text1": ["a"], "text2": ["b"]}
    assert (pool.alone, pool.labels) == (False, None)
    path = write(tmp_path / "r.csv", "text1,text2\na,b\n")
    pool = read_pool(path, columns={"text1": "title", "text2": "offer"})  # as the training file has them
    assert pool.dataset.to_dict() == {"text1": ["a"], "text2": ["b"]}


def test_read_pool_of_single_texts_removes_duplicates(tmp_path):
    pool = read_pool(write(tmp_path / "t.csv", "id,Text\n1,a\n2,b\n3,a\n"))
    assert pool.dataset.to_dict() == {"text1": ["a", "b"], "text2": ["a", "b"]}
    assert pool.alone


def test_read_pool_error_names_both_formats(tmp_path):
    with pytest.raises(DataError, match=r"no text columns found; it has 'x', 'y'.*one column called text$"):
        read_pool(write(tmp_path / "x.csv", "x,y\na,b\n"))
    with pytest.raises(DataError, match=r"row 2.*the text is empty"):
        read_pool(write(tmp_path / "e.csv", "text\na\n  \n"))
    with pytest.raises(DataError, match="no such file"):
        read_pool(tmp_path / "none.csv")
