"""Parsers of labels, scores and groups: every accepted spelling; other values are refused."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from datasets import Dataset

from flipkd.data.labels import labels_of, parse_group, parse_label, parse_score

YES = ["1", "yes", "YES", " Yes ", "Y", "true", "TRUE", "t", "T", "match", "Match", 1, True, Decimal("1.0")]
YES += [
    "1.0",
    "1.00",
    "1.",
    "+1",
    "1.000e+00",
    "1E0",
    "1.000000000000000000e+00",
    " 1.00 ",
    "01",
    1.0,
    "\ufeff1",
    "yes\u200b",
    "\uff11",
]
NO = ["0", "no", "No", "n", "false", "f", "F", "no match", "no_match", "no-match", "nomatch", " NO MATCH", 0, False]
NO += ["0.0", "0.00", "0.", ".0", "-0", "0.000e+00", "0e0", "-0.0", "00", 0.0, -0.0]
BLANK = ["", "  ", "\t", None, float("nan"), "NaN", "nan", "-nan", "None", "NULL", "null", "NA", "N/A", "n/a", "<NA>"]
BLANK += ["\\N", "#N/A", "NaT", " na ", "1.#QNAN", "nil"]
BLANK += ["(null)", "(NULL)", "[NULL]", "<null>", "undefined", "n.a.", "#NULL!", "\u200b", "\ufeffnan", "\u00a0"]
UNKNOWN = ["maybe", "2", "-1", -1, 2, 0.5, "0.5", "j", "1,0", [], {}, [1], b"1", float("inf"), "inf", "x" * 10_000]
UNKNOWN += ["1_0", "0x1", "1.0.0", "0.99999", "1 0", "tf", "0" * 41, "9" * 400, {"a": 1}, Decimal("0.5")]


@pytest.mark.scenario("D7")
@pytest.mark.parametrize("values, label", [(YES, 1), (NO, 0), (BLANK, None)])
def test_parse_label(values, label):
    parsed = [parse_label(value) for value in values]
    assert parsed == [label] * len(values)
    assert all(type(value) is type(label) for value in parsed)


@pytest.mark.scenario("D7")
@pytest.mark.parametrize("value", UNKNOWN)
def test_parse_label_refuses_unknown_values(value):
    with pytest.raises(ValueError, match="1 or 0, yes or no"):
        parse_label(value)


@pytest.mark.parametrize(
    "value, score",
    [
        ("0.25", 0.25),
        (" -3e2 ", -300.0),
        (1, 1.0),
        (0.1, 0.1),
        (Decimal("0.5"), 0.5),
        *[(blank, None) for blank in BLANK],
    ],
)
def test_parse_score(value, score):
    assert parse_score(value) == score


@pytest.mark.scenario("N4")
@pytest.mark.parametrize(
    "value", ["high", "1_0", "inf", float("inf"), "-inf", True, [], "1,5", "9" * 400, 10**400, "yes", "no"]
)
def test_parse_score_refuses_other_values(value):
    with pytest.raises(ValueError, match="finite number"):
        parse_score(value)


@pytest.mark.parametrize(
    "value, group",
    [("a ", "a "), ("007", "007"), (3, "3"), (3.0, "3"), ("nana", "nana"), (0, "0"), ("0", "0")]
    + [(blank, None) for blank in BLANK],
)
def test_parse_group(value, group):
    assert parse_group(value) == group


@pytest.mark.parametrize("value", [[1], {}, 0.5, "a\0b"])
def test_parse_group_refuses_other_values(value):
    with pytest.raises(ValueError, match="group"):
        parse_group(value)


def test_labels_of_is_minus_one_for_unlabelled_rows():
    rows = {"text1": ["a", "b", "c"], "text2": ["d", "e", "f"]}
    assert labels_of(Dataset.from_dict(rows | {"label": [1, None, 0]})).tolist() == [1, -1, 0]
    unlabelled = labels_of(Dataset.from_dict(rows))
    assert unlabelled.tolist() == [-1, -1, -1]
    assert unlabelled.dtype == np.int64
