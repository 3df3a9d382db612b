"""find_columns: aliases in any case, the mapping of the user overrides them, ambiguity is refused."""

from __future__ import annotations

import pytest

from flipkd.data.columns import TEXT_ALIASES, find_columns
from flipkd.errors import DataError, UsageError


@pytest.mark.parametrize("first, second", TEXT_ALIASES)
@pytest.mark.parametrize("spell", [str, str.upper, str.title, " {}".format])
def test_find_columns_accepts_aliases_in_any_order_and_case(first, second, spell):
    present = ["id", spell(second), spell("is_duplicate"), spell(first), spell("similarity"), spell("cluster")]
    assert find_columns(present, None, "f") == {
        "text1": spell(first),
        "text2": spell(second),
        "label": spell("is_duplicate"),
        "score": spell("similarity"),
        "group": spell("cluster"),
    }


def test_find_columns_needs_only_the_texts():
    assert list(find_columns(["text2", "text1"], None, "f")) == ["text1", "text2"]


def test_columns_argument_overrides_aliases():
    present = ["text1", "text2", "label", "title", "gold"]
    assert find_columns(present, {"text1": "title", "label": "gold"}, "f") == {
        "text1": "title",
        "text2": "text2",
        "label": "gold",
    }
    assert find_columns(["a", "b"], {"text1": "b", "text2": "a"}, "f") == {"text1": "b", "text2": "a"}


def test_mapped_column_is_used_once():
    # `label` is taken as a text, so it is not the label as well
    assert find_columns(["label", "x"], {"text1": "label", "text2": "x"}, "f") == {"text1": "label", "text2": "x"}


def test_alias_pair_needs_both_columns():
    assert find_columns(["query", "text1", "text2"], None, "f")["text1"] == "text1"
    with pytest.raises(DataError, match="no text columns found"):
        find_columns(["query", "text1"], None, "f")


@pytest.mark.parametrize(
    "present, choice",
    [
        (["txt1", "text2", "lable"], "--columns text1=txt1 --columns text2=text2 --columns label=lable"),
        (["text 1", "text 2"], "--columns 'text1=text 1' --columns 'text2=text 2'"),
        (["text2", "b"], "--columns text1=NAME --columns text2=text2"),
        (["texts", "label"], "--columns text1=texts --columns text2=NAME"),
        (["Question 1", "question-2", "label"], "--columns 'text1=Question 1' --columns text2=question-2"),
        (
            ["Question 1", "Question 2", "Is Duplicate"],
            "--columns 'text1=Question 1' --columns 'text2=Question 2' --columns 'label=Is Duplicate'",
        ),
        (["a", "b", "label"], "--columns text1=NAME --columns text2=NAME"),
    ],
)
def test_missing_text_columns_are_suggested_from_names_that_are_close(present, choice):
    with pytest.raises(DataError) as refused:
        find_columns(present, None, "f")
    assert f"choose with {choice} (" in str(refused.value)


@pytest.mark.parametrize(
    "present, columns, message",
    [
        (
            ["query", "document", "text1", "text2"],
            None,
            "ambiguous text columns: 'text1'/'text2' and 'query'/'document'",
        ),
        (["text1", "Text1", "text2"], None, "ambiguous text columns"),
        (["text1", "text2", "label", "gold"], None, "ambiguous label column: 'label', 'gold'"),
        (["text1", "text2", "score", "teacher_score"], None, "ambiguous score column"),
        (["text1", "text2", "group", "cluster"], None, "ambiguous group column"),
        (["left", "right"], None, "it has 'left', 'right'"),
        (["left", "right"], {"text1": "lift", "text2": "right"}, "no column 'lift', given as text1 in --columns"),
    ],
)
def test_ambiguous_and_missing_columns_are_refused(present, columns, message):
    with pytest.raises(DataError) as caught:
        find_columns(present, columns, "pairs.csv")
    assert str(caught.value).startswith("pairs.csv: ")
    assert message in str(caught.value)
    assert "--columns" in str(caught.value)


def test_columns_argument_resolves_ambiguity():
    present = ["query", "document", "text1", "text2", "label", "gold"]
    found = find_columns(present, {"text1": "query", "text2": "document", "label": "gold"}, "f")
    assert found == {"text1": "query", "text2": "document", "label": "gold"}


def test_find_columns_refuses_unknown_and_duplicate_mappings():
    with pytest.raises(UsageError, match="did you mean 'label'"):
        find_columns(["text1", "text2"], {"lable": "text1"}, "f")
    with pytest.raises(UsageError, match="given twice"):
        find_columns(["a"], {"text1": "a", "text2": "a"}, "f")


def test_error_lists_at_most_twenty_columns():
    with pytest.raises(DataError, match="and 980 more") as caught:
        find_columns([f"column {i}" for i in range(1000)], None, "f")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("header", ["text1;text2;label", "text1\ttext2\tlabel", "a|b"])
def test_error_names_a_likely_separator(header):
    with pytest.raises(DataError, match="the separator seems to be"):
        find_columns([header], None, "f.csv")


def test_find_columns_error_suggests_a_valid_command_line_option():
    with pytest.raises(DataError, match="choose with --columns text1=NAME --columns text2=NAME"):
        find_columns(["title", "candidate"], None, "f.csv")
