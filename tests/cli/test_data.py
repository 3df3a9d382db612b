"""Command line of check and split: wrong options raise errors before any file is read."""

from __future__ import annotations

import json

import pytest
from command_line import flipkd


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["check"], "files is missing"),
        (["check", "none.csv", "--columns", "text1"], "write KEY=VALUE"),
        (["split", "none.csv", "--validation", "1.5"], "validation is 1.5"),
        (["split", "none.csv", "--test", "x"], "test is 'x'"),
        (["split", "none.csv", "--seed", "-1"], "seed is -1"),
    ],
)
def test_check_and_split_reject_wrong_options(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = flipkd(*arguments)
    assert (done.code, done.out) == (2, "")
    assert expected in done.err
    assert not list(tmp_path.iterdir())


def test_check_json_writes_only_json_to_stdout(pair_files):
    done = flipkd("check", pair_files["train"], pair_files["test"], "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)
