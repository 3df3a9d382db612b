"""csv and tsv as programs write them: nameless columns at the end, columns that nobody uses."""

from __future__ import annotations

import pytest

from flipkd.data import read_blocks, read_pairs
from flipkd.errors import DataError


def rows_of(dataset):
    return list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))


@pytest.mark.parametrize("commas", [0, 1, 2, 7])
@pytest.mark.parametrize("mark", [",", ";"])
def test_nameless_columns_at_the_end_are_nothing(pairs_file, commas, mark):
    lines = [
        mark.join(cells) + mark * commas for cells in (("text1", "text2", "label"), ("a", "b", "1"), ("c", "d", "0"))
    ]
    lines.append(mark.join(("e", "f", "")) + mark * (commas // 2))  # Excel ends some rows early
    dataset = read_pairs(pairs_file("\n".join(lines)))
    assert rows_of(dataset) == [("a", "b"), ("c", "d"), ("e", "f")]
    assert dataset["label"][:] == [1, 0, None]


@pytest.mark.scenario("D13")
@pytest.mark.parametrize("row", ["a,b", "a,b,1,,,", "a"])
def test_a_row_without_a_named_field_or_with_one_more_is_refused(pairs_file, row):
    with pytest.raises(DataError, match=r"row 2 \(line 3\): \d fields where the header has 5"):
        read_pairs(pairs_file(f"text1,text2,label,,\nx,y,1,,\n{row}\n"))


def test_a_column_that_is_not_used_need_not_be_unique(pairs_file):
    path = pairs_file("note,text1,text2,note,,\nn,a,b,m,,\n")
    assert rows_of(read_pairs(path)) == [("a", "b")]
    with pytest.raises(DataError, match="column 'note' stands there 2 times; rename all but one"):
        next(read_blocks(path, keep=["note"]))
    with pytest.raises(DataError, match="column 'note' stands there 2 times"):
        read_pairs(path, columns={"text1": "note"})


@pytest.mark.parametrize("name", ["text1", "label", "group"])
def test_a_column_that_is_used_must_be(pairs_file, name):
    with pytest.raises(DataError, match=f"column '{name}' stands there 2 times; rename all but one"):
        read_pairs(pairs_file(f"text1,text2,label,group,{name}\na,b,1,g,a\n"))
