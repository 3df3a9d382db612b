"""check and split: reports on files of pairs, and three files that share no text."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from command_line import flipkd

ODD = ["NA", "null", "007", "=1+1", "a, b", 'say "so"', "two\nlines", " padded ", "日本語 😀", "{{7*7}}", "%s"]


def write(path: Path, rows, header=("text1", "text2", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.reader(handle))


@pytest.fixture
def good(tmp_path) -> Path:
    return write(tmp_path / "good.csv", [("a", "b", 1), ("c", "d", 0), ("e", "f", 1), ("g", "h", 0), ("g", "h", 0)])


def test_check_prints_a_table_with_warnings_and_leaks(good, tmp_path):
    other = write(tmp_path / "other.csv", [("A!", "x", 1), ("y", "z", 0), ("u", "b", 1), ("v", "w", 0)])
    done = flipkd("check", good, other)
    assert (done.code, done.err) == (0, "")
    assert "| rows                  | 5 " in done.out
    assert f"warning: {good}: duplicates of an earlier pair: 1 (row 5)" in done.out
    assert f"leak: 2 rows of {other} contain a text of {good} (text1 in 1, text2 in 1)" in done.out
    assert "note: row 1 is the first row below the header" in done.out
    assert "leak" not in flipkd("check", good).out


def test_check_as_json(good, tmp_path):
    other = write(tmp_path / "other.csv", [("A!", "x", 1), ("y", "z", 0), ("u", "b", 1), ("v", "w", 0)])
    done = flipkd("check", "--json", good, other)
    found = json.loads(done.out)
    assert found["files"][str(good)]["counts"]["rows"] == 5
    assert found["files"][str(good)]["warnings"] == ["duplicates of an earlier pair: 1 (row 5)"]
    assert found["leaks"] == [
        {
            "earlier": str(good),
            "later": str(other),
            "rows": 2,
            "text1_rows": 1,
            "text2_rows": 1,
            "shared_text2": 0,
        }
    ]


def test_check_reports_problems_and_exits_with_code_3(good, tmp_path):
    bad = write(tmp_path / "bad.csv", [("a", "b", 1), ("", "d", 1)])
    for arguments in (["check", good, bad], ["check", "--json", good, bad]):
        done = flipkd(*arguments)
        assert done.code == 3
        assert "only one class" in done.out
        assert "empty texts: 1 (row 2); fill or remove these rows" in done.out
        assert done.err == f"flipkd: cannot be used until its problems in the output are corrected: {bad}\n"


def test_check_with_columns_and_tokenizer(tmp_path, base_models):
    rows = [("my card", "x", 1), ("my pin", "y", 0), ("c", "z", 1), ("d", "w", 0)]
    path = write(tmp_path / "q.csv", rows, header=("title", "body", "same"))
    done = flipkd("check", path)
    assert done.code == 3
    assert "title, body" in done.err.replace("'", "")
    mapped = ["--columns", "text1=title", "--columns", "text2=body", "--columns", "label=same"]
    done = flipkd("check", path, *mapped, "--tokenizer", base_models["llama"])
    assert done.code == 0, done.err
    assert "text1 tokens max" in done.out


FEW = (
    "validation has few labelled pairs to choose a threshold on; use at least 100, and 20 of each class: a larger "
    "--validation, or more labels\n"
)


def test_split_warns_only_of_few_labelled_validation_pairs(tmp_path):
    rows = [(f"left {i}", f"right {i}", i % 2 if i % 3 else "") for i in range(900)]
    source = write(tmp_path / "all.csv", rows)
    for share, warning in ((0.05, FEW), (0.3, ""), (0, "")):
        done = flipkd("split", source, "--validation", share, "--output_dir", tmp_path / f"data-{share}")
        assert (done.code, done.err) == (0, warning), share
    unlabelled = write(tmp_path / "unlabelled.csv", [(a, b, "") for a, b, _ in rows])
    assert flipkd("split", unlabelled, "--output_dir", tmp_path / "none").err == ""


def test_split_writes_three_files_that_share_no_text(tmp_path):
    rows = [(f"{unusual} {i}", f"{unusual} right {i}", i % 2) for i in range(20) for unusual in ODD]
    source = write(tmp_path / "all.csv", rows)
    done = flipkd("split", source, "--output_dir", tmp_path / "data", "--seed", 1)
    assert (done.code, done.err) == (0, FEW)
    parts = {name: read(tmp_path / "data" / f"{name}.csv") for name in ("train", "validation", "test")}
    assert done.out == "".join(
        f"{tmp_path / 'data' / name}.csv: {len(part) - 1} pairs ({matches} match, {len(part) - 1 - matches} do not)\n"
        for name, part in parts.items()
        for matches in [sum(row[2] == "1" for row in part[1:])]
    )
    kept = [tuple(row) for part in parts.values() for row in part[1:]]
    assert sorted(kept) == sorted((a, b, str(y)) for a, b, y in rows)
    checked = json.loads(flipkd("check", "--json", *(tmp_path / "data" / f"{name}.csv" for name in parts)).out)
    assert checked["leaks"] == []


def test_split_by_text1_of_an_faq_reports_no_leak(tmp_path):
    rows = [
        (f"question {i}?", f"entry {(i + wrong * (1 + i // 30)) % 30}", 1 - wrong)
        for i in range(150)
        for wrong in (0, 1)
    ]
    source = write(tmp_path / "faq.csv", rows)
    done = flipkd("split", source, "--output_dir", tmp_path / "data")
    assert (done.code, "split by text1 (--by text1)" in done.err) == (3, True), done.err
    done = flipkd("split", source, "--output_dir", tmp_path / "data", "--by", "text1")
    assert (done.code, done.err) == (0, FEW)
    files = [tmp_path / "data" / f"{name}.csv" for name in ("train", "validation", "test")]
    questions = [{row[0] for row in read(file)[1:]} for file in files]
    assert [len(found) for found in questions] == [105, 15, 30]
    assert len(set.union(*questions)) == 150
    done = flipkd("check", *files)
    assert (done.code, done.err) == (0, "")
    assert "leak" not in done.out
    assert f"note: 60 rows of {files[2]} have a text2 of {files[0]}: the files share a list of" in done.out
    assert flipkd("split", source, "--by", "text3").code == 2


def test_split_is_repeatable_and_never_overwrites_other_rows(tmp_path):
    rows = [(f"left {i}", f"right {i}", i % 2) for i in range(60)]
    source = write(tmp_path / "train.csv", rows)
    assert flipkd("split", source, "--output_dir", tmp_path / "data").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    assert flipkd("split", source, "--output_dir", tmp_path / "data").code == 0
    for arguments in (["--output_dir", tmp_path], ["--output_dir", tmp_path / "data", "--seed", 9]):
        done = flipkd("split", source, *arguments)
        assert done.code == 5
        assert "already exists with other rows" in done.err
    assert {path: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before
    assert len(read(source)) == 61
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "train.csv"]


def test_split_rejects_impossible_shares(tmp_path):
    source = write(tmp_path / "all.csv", [(f"left {i}", f"right {i}", i % 2) for i in range(60)])
    done = flipkd("split", source, "--output_dir", tmp_path / "data", "--validation", 0.5, "--test", 0.5)
    assert done.code == 2
    assert "their sum below 1" in done.err
    (tmp_path / "file").write_text("")
    done = flipkd("split", source, "--output_dir", tmp_path / "file")
    assert done.code == 5
    assert done.err.startswith(f"flipkd: {tmp_path / 'file' / 'train.csv'}: ")
