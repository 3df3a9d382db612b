"""open_source: supported paths, and the errors for other paths."""

from __future__ import annotations

import pytest
from pandas import DataFrame

from flipkd.data import sources
from flipkd.data.pairs import read_pairs
from flipkd.data.sources import open_source
from flipkd.errors import DataError, UsageError


def test_open_source_refuses_other_paths(tmp_path, pairs_file):
    path = pairs_file("text1,text2\na,b\n")
    for name, message in {
        tmp_path / "pears.csv": f"no such file; did you mean {path}",
        tmp_path / "zzzzzz.tsv": "no such file in the folder",
        tmp_path / "nowhere" / "pairs.csv": "and no folder",
        str(tmp_path / "pairs"): "no such file; did you mean",
        tmp_path: "is a folder",
        pairs_file("x", name="pairs.xlsb"): "cannot read files that end in '.xlsb'; save it as one of .csv, .tsv",
        pairs_file("[]", name="pairs.json"): "one object per line: rename it to .jsonl; a list of objects: jq -c",
        "/dev/null": "not a regular file",
        "": "not a file name",
        "a\0b.csv": "not a file name",
    }.items():
        with pytest.raises(DataError) as caught:
            read_pairs(name)
        assert message in str(caught.value), name


@pytest.mark.parametrize("mark, remedy", [("dataset_info.json", r"\(\.\.\.\)"), ("dataset_dict.json", r"\[SPLIT\]")])
def test_folder_of_datasets_is_refused_with_the_call_that_makes_a_file_of_it(tmp_path, mark, remedy):
    (tmp_path / mark).write_text("{}")
    with pytest.raises(DataError, match=rf"is a folder of datasets.*load_from_disk.*{remedy}\.to_parquet\(FILE\)"):
        read_pairs(tmp_path)


def test_name_without_its_ending_is_a_file_of_this_folder_before_it_is_a_data_set_of_the_hub(
    pairs_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = pairs_file("text1,text2\na,b\n").rename(tmp_path / "train.csv")
    (tmp_path / "train.txt").write_text("x")
    asked = []
    monkeypatch.setattr(sources, "open_hub", lambda name, split: asked.append((name, split)) or open_source(path))
    with pytest.raises(DataError, match=r"no such file; did you mean train\.csv\? .* write its split: train:SPLIT"):
        open_source("train")
    open_source("train:test")
    open_source("train", "test")
    open_source("somebody/train")
    assert asked == [("train", "test"), ("train", "test"), ("somebody/train", None)]


def test_error_for_a_missing_file_suggests_the_nearest_name_but_not_one_with_only_the_same_ending(pairs_file):
    folder = pairs_file("text1,text2\na,b\n", name="test.csv").parent
    for name, message in {"tset.csv": "did you mean .*test.csv", "test.jsonl": "did you mean .*test.csv"}.items():
        with pytest.raises(DataError, match=message):
            read_pairs(folder / name)
    with pytest.raises(DataError, match=r"logs\.csv: no such file in the folder"):
        read_pairs(folder / "logs.csv")


def test_open_source_ignores_the_case_of_the_file_ending(pairs_file):
    assert len(read_pairs(pairs_file("text1\ttext2\na\tb\n", name="PAIRS.TSV"))) == 1


@pytest.mark.parametrize(
    "given, kind", [(["a.csv"], "list"), (None, "NoneType"), (DataFrame({"text1": ["a"]}), "DataFrame")]
)
def test_read_pairs_names_what_is_no_file_name(given, kind):
    with pytest.raises(UsageError, match=f"got a {kind} where a file name is needed; write a table to a file"):
        read_pairs(given)


def test_open_source_refuses_split_for_files(pairs_file):
    with pytest.raises(UsageError, match="but this is a file; remove it"):
        read_pairs(pairs_file("text1,text2\na,b\n"), split="train")
