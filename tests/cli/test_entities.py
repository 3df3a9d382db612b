"""flipkd candidates and flipkd dedupe on the command line: tables, JSON, and the hint after a stop."""

from __future__ import annotations

import json

import pytest
from command_line import flipkd


@pytest.fixture
def records(tmp_path):
    (tmp_path / "r.csv").write_text("text,brand\nred pen,x\na red pen,x\nink,y\n")
    return tmp_path / "r.csv"


def test_counts_are_a_table_or_json(records, tmp_path):
    words = ("candidates", records, "--output", tmp_path / "o.csv", "--equal", "brand")
    done = flipkd(*words)
    assert (done.code, done.out.splitlines()[-1]) == (0, str(tmp_path / "o.csv")), done.err
    assert "| equal:brand | 1     | 1                 |" in done.out
    found = json.loads(flipkd(*words, "--json").out)
    assert (found["records"], found["possible"], found["rules"]["total"]["pairs"]) == ([3], 3, 1)


@pytest.mark.parametrize(("verb", "resumes"), [("candidates", False), ("dedupe", True)])
def test_candidates_and_dedupe_that_stop_name_what_is_left(
    records, tmp_path, monkeypatch, tiny_matcher, verb, resumes
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("flipkd.commands.candidates.find_pairs", stop)
    output = ("--output_dir", tmp_path / "out", "--matcher", tiny_matcher(), "--top_k", 0)
    done = flipkd(verb, records, "--equal", "brand", *(output if resumes else ("--output", tmp_path / "o.csv")))
    assert (done.code, "run the same command to resume" in done.err) == (75, resumes), done.err
    assert ("nothing was written" in done.err) is not resumes
