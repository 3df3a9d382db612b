"""Rows of flipkd match as text: one JSON object per line, CSV cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json

import pytest

from flipkd.commands.match_rows import to_csv, to_jsonl


def test_to_jsonl_writes_one_row_per_line():
    rows = [{"text1": "a\u2028b\nc", "text2": "\x00", "score": 0.1}]
    assert to_jsonl(rows).count("\n") == 1
    assert json.loads(to_jsonl(rows)) == rows[0]


@pytest.mark.scenario("X9")
@pytest.mark.parametrize(
    "cell",
    ["-17", "+17", "-1.5", "-1,5", "-1.234.567,89", "-2.5e-3", "+5%", "+49 30 1234567", "+1 (800) 555-0100"]
    + ["+49 (0)30/123-45", "-7-3", "@user", "@some.one", "-xK3f_9", "-", "+", "@", "-abc-def", "+\u0661\u0662", "", "a=1"],
)  # fmt: skip
def test_to_csv_does_not_guard_numbers_and_names(cell):
    assert list(csv.reader(io.StringIO(to_csv([{"id": cell}]), newline="")))[1:] == [[cell]]


@pytest.mark.scenario("X9")
@pytest.mark.parametrize(
    "cell",
    ["=1", "=A1", "-1+2", "+A1*2", "-2+3+cmd|' /C calc'!A0", "@SUM(1+9)*cmd|' /C calc'!A0", "+SUM(1)", "-5 deg", "@a b"]
    + ["\t=1", "\r=1", "\n-1", "-1\n=1", "\uff1d1", '=HYPERLINK("http://x")', "-(A1)", "+1e5e5 x", "+49 card"],
)  # fmt: skip
def test_to_csv_guards_formulas_with_an_apostrophe(cell):
    for guard, mark in ((True, "'"), (False, "")):
        written = to_csv([{"id": cell}], guard=guard)
        assert list(csv.reader(io.StringIO(written, newline="")))[1:] == [[mark + cell]]


def test_to_csv_of_no_rows_has_a_header():
    assert list(csv.reader(io.StringIO(to_csv([])))) == [["text1", "text2", "score", "probability", "decision"]]
