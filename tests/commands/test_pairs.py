"""Loading of pairs: labels, content hashes, warnings in the log."""

from __future__ import annotations

import pytest
from datasets import Dataset

from flipkd.commands.pairs import checked_pairs, content_hash, labelled, normalised, trainable_pairs, warn_of_leaks
from flipkd.data.leakage import Leak
from flipkd.errors import DataError

ROWS = {"text1": ["a", "b", "c"], "text2": ["d", "e", "f"], "label": [1, None, 0]}


def test_trainable_pairs_are_normalised_and_checked_pairs_are_not(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        'text1,text2,label,score\n"my\u200b card\n is lost",fee,1,0.5\npin,"a  b",0,0.25\nx,y,1,1\nz,w,0,0\n',
        encoding="utf-8",
    )
    read = {"columns": None, "name": "x"}
    dataset = trainable_pairs(str(path), **read)
    assert (dataset["text1"][:2], dataset["text2"][:2]) == (["my card is lost", "pin"], ["fee", "a b"])
    assert (dataset["label"][:], dataset["score"][:]) == ([1, 0, 1, 0], [0.5, 0.25, 1, 0])
    assert checked_pairs(str(path), **read)["text1"][:2] == ["my\u200b card\n is lost", "pin"]
    plain = Dataset.from_dict(ROWS)
    assert normalised(plain) is plain


def test_labelled_keeps_labelled_rows_in_order():
    assert labelled(Dataset.from_dict(ROWS), name="x")["text1"][:] == ["a", "c"]
    whole = Dataset.from_dict(ROWS).select([0, 2])
    assert labelled(whole, name="x") is whole
    with pytest.raises(DataError, match="x: no row has a label"):
        labelled(Dataset.from_dict(ROWS).select([1]), name="x")


def test_content_hash_depends_on_texts_labels_scores_and_order():
    base = content_hash(Dataset.from_dict(ROWS))
    assert content_hash(Dataset.from_dict(ROWS | {"group": [1, 2, 3]})) == base
    scored = content_hash(Dataset.from_dict(ROWS | {"score": [0.1, 0.2, 0.3]}))
    assert scored != content_hash(Dataset.from_dict(ROWS | {"score": [0.1, 0.2, 0.9]}))
    for changed in (
        ROWS | {"score": [0.1, 0.2, 0.3]},
        ROWS | {"label": [1, 0, 0]},
        ROWS | {"text1": ["a", "b", "C"]},
        {name: values[::-1] for name, values in ROWS.items()},
        ROWS | {"text1": ["ad", "b", "c"], "text2": ["", "e", "f"]},
    ):
        assert content_hash(Dataset.from_dict(changed)) != base


@pytest.mark.parametrize(
    "left, right, expected",
    [
        ("a", "new", "too high, unless in use each text2 is new and its text1 is known (split --by text2)"),
        ("new", "b", "too high, unless in use each text1 is new and its text2 is known (split --by text1)"),
        ("a", "b", "too high"),
    ],
)
def test_warn_of_leaks_explains_a_leak_of_one_side(caplog, left, right, expected):
    rows = {"train": (["a", "c", "e"], ["b", "d", "f"]), "test": ([left], [right])}
    warn_of_leaks({name: Dataset.from_dict({"text1": a, "text2": b}) for name, (a, b) in rows.items()})
    assert caplog.messages[0].endswith(expected)


def test_warn_of_leaks_is_silent_for_shared_faq_entries(caplog):
    faq = [Dataset.from_dict({"text1": [f"{k} {i}" for i in range(9)], "text2": ["x", "y", "z"] * 3}) for k in "ab"]
    with caplog.at_level("INFO"):
        found = warn_of_leaks({"train": faq[0], "test": faq[1]})
    assert found == {("train", "test"): Leak(0, 0, 9, 3)}
    assert [(record.levelname, "a list of 3 texts" in record.getMessage()) for record in caplog.records] == [
        ("INFO", True)
    ]


def test_checked_pairs_logs_warnings_and_raises_problems(tmp_path, caplog):
    path = tmp_path / "p.csv"
    path.write_text("text1,text2,label\na,b,1\nc,d,0\ne,f,1\ng,h,0\ng,h,0\n")
    dataset = trainable_pairs(str(path), columns=None, name="train")
    assert len(dataset) == 5
    assert caplog.messages == ["train: duplicates of an earlier pair: 1 (row 5)"]
    caplog.clear()
    assert warn_of_leaks({"train": dataset, "test": dataset.select([0])}) == {("train", "test"): Leak(1, 1, 1, 0)}
    assert caplog.messages == [
        "train/test: 1 rows of test have a text of train (1 in text1, 1 in text2), so metrics on them are too high"
    ]
    path.write_text("text1,text2,label\na,b,1\nc,d,1\n")
    with pytest.raises(DataError, match=r"\.csv: cannot be used: only one class"):
        trainable_pairs(str(path), columns=None, name="train")
