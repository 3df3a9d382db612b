"""csv and tsv files written by other programs: columns without a name, unused columns, decimal commas."""

from __future__ import annotations

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.data.pairs import read_blocks, read_pairs
from flipkd.errors import DataError


def rows_of(dataset):
    return list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))


@pytest.mark.parametrize("commas", [0, 1, 2, 7])
@pytest.mark.parametrize("mark", [",", ";"])
def test_separated_file_with_trailing_columns_without_a_name_is_read_without_them(pairs_file, commas, mark):
    lines = [
        mark.join(cells) + mark * commas for cells in (("text1", "text2", "label"), ("a", "b", "1"), ("c", "d", "0"))
    ]
    lines.append(mark.join(("e", "f", "")) + mark * (commas // 2))  # Excel ends some rows early
    dataset = read_pairs(pairs_file("\n".join(lines)))
    assert rows_of(dataset) == [("a", "b"), ("c", "d"), ("e", "f")]
    assert dataset["label"][:] == [1, 0, None]


@pytest.mark.scenario("D13")
@pytest.mark.parametrize("row", ["a,b", "a,b,1,,,", "a"])
def test_separated_rows_with_missing_or_extra_fields_are_refused(pairs_file, row):
    with pytest.raises(DataError, match=r"row 2 \(line 3\): \d fields, but the header has 5"):
        read_pairs(pairs_file(f"text1,text2,label,,\nx,y,1,,\n{row}\n"))


def test_separated_unused_columns_may_have_duplicate_names(pairs_file):
    path = pairs_file("note,text1,text2,note,,\nn,a,b,m,,\n")
    assert rows_of(read_pairs(path)) == [("a", "b")]
    with pytest.raises(DataError, match=r"duplicate column name 'note' \(2 times\); rename all but one"):
        next(read_blocks(path, keep=["note"]))
    with pytest.raises(DataError, match=r"duplicate column name 'note' \(2 times\)"):
        read_pairs(path, columns={"text1": "note"})


@pytest.mark.parametrize("name", ["text1", "label", "group"])
def test_separated_used_columns_must_have_unique_names(pairs_file, name):
    with pytest.raises(DataError, match=rf"duplicate column name '{name}' \(2 times\); rename all but one"):
        read_pairs(pairs_file(f"text1,text2,label,group,{name}\na,b,1,g,a\n"))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("alone", ["{0}{0}", "{0}{0}{0}{0}", " {0} {0}  ", "{0}"])
def test_separated_rows_of_separators_only_are_skipped_with_a_warning(pairs_file, caplog, mark, alone):
    idle = alone.format(mark)
    lines = [idle, mark.join(("text1", "text2", "label")), mark.join(("a", "b", "1")), idle, "", idle]
    path = pairs_file("\n".join([*lines, mark.join(("c", "d", "")), idle]))
    assert rows_of(read_pairs(path)) == [("a", "b"), ("c", "d")]
    assert f"{path}: rows with only separators are skipped: 4, first line 1" in caplog.text
    assert [len(block.left) for block in read_blocks(path)] == [2]


@pytest.mark.parametrize("row", ['"","",', "a,,", ",,1", '",","",'])
def test_separated_rows_with_content_are_not_skipped(pairs_file, row):
    assert len(rows_of(read_pairs(pairs_file(f"text1,text2,label\nx,y,1\n{row}\n")))) == 2


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, None]),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from(["1,5", "a", None]),
        ),
        min_size=2,
        max_size=6,
    ),
    st.booleans(),
)
def test_decimal_commas_with_semicolons(tmp_path_factory, rows, index):
    path = tmp_path_factory.mktemp("comma") / "pairs.csv"
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = pandas.DataFrame({"text1": "0,5", "text2": "b"}, index=range(len(rows)))
    for name, values in zip(("label", "score"), columns, strict=False):
        table[name] = pandas.Series(values, dtype="float64")
    table["group"] = columns[2]
    table.to_csv(path, sep=";", decimal=",", index=index)
    dataset = read_pairs(path)
    assert dataset["text1"][:] == ["0,5"] * len(rows)
    assert dataset["label"][:] == [None if value is None else int(value) for value in columns[0]]
    assert dataset["score"][:] == columns[1]
    assert dataset["group"][:] == columns[2]


@pytest.mark.parametrize("content", ['text1,text2,score\na,b,"0,5"\n', "text1;text2;score\na;b;1.234,5\n"])
def test_separated_refuses_other_commas_in_numbers(pairs_file, content):
    with pytest.raises(DataError, match="a finite number with a decimal point"):
        read_pairs(pairs_file(content))


def test_separated_fraction_is_not_a_label(pairs_file):
    with pytest.raises(DataError, match="got '0,5'; a label is 1 or 0"):
        read_pairs(pairs_file("text1;text2;label\na;b;0,5\n"))
    assert read_pairs(pairs_file("text1;text2;label\na;b;1,00\nc;d;0,0\n"))["label"][:] == [1, 0]
