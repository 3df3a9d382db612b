"""Known matches: by ids or rows, with labels, and errors with their location."""

from __future__ import annotations

import pytest

from flipkd.commands.known_matches import known_matches
from flipkd.data.records import Records
from flipkd.errors import DataError

LEFT = Records("left.csv", ["x"] * 3, {"id": ["a", "b", "c"]})
RIGHT = Records("right.csv", ["x"] * 2, {"key": [7, 8]})


def read(folder, text, sides=(LEFT, RIGHT), ids=("id", "key")):
    (folder / "k.csv").write_text(text)
    left, right = known_matches(str(folder / "k.csv"), sides, ids=ids)
    return list(zip(left.tolist(), right.tolist(), strict=True))


def test_matches_by_id_and_by_row(tmp_path):
    assert read(tmp_path, "id2,id1\n8,a\n7,c\n") == [(0, 1), (2, 0)]
    assert read(tmp_path, "row1,row2\n3, 1\n", ids=(None, None)) == [(2, 0)]
    assert read(tmp_path, "id1,id2\nc,a\n", sides=[LEFT], ids=("id", "id")) == [(2, 0)]


def test_known_matches_leave_out_rows_without_label_1(tmp_path):
    assert read(tmp_path, "id1,id2,label\na,7,1\nb,7,0\nnone,7,\nc,8,yes\n") == [(0, 0), (2, 1)]


@pytest.mark.parametrize(
    ("text", "sides", "ids", "word"),
    [
        (
            "id1,id2\na,9\n",
            (LEFT, RIGHT),
            ("id", "key"),
            r"row 1 \(line 2\), column 'id2': no record of right.csv has",
        ),
        ("id1,id2\n,7\n", (LEFT, RIGHT), ("id", "key"), "column 'id1': no record of left.csv has the id ''"),
        ("row1,row2\n0,1\n", (LEFT, RIGHT), (None, None), "'0' is no row of left.csv; allowed: 1 to 3"),
        ("row1,row2\n1,x\n", (LEFT, RIGHT), (None, None), "'x' is no row of right.csv; allowed: 1 to 2"),
        ("id1,id2\na,a\n", (LEFT,), ("id", "id"), "a record is paired with itself"),
        ("id1,id2,label\na,7,0\n", (LEFT, RIGHT), ("id", "key"), "has no known match"),
        ("id1,id2,label\na,7,graded\n", (LEFT, RIGHT), ("id", "key"), "got 'graded'; a label is 1 or 0"),
        ("id1,id2\na,7\n", (LEFT, RIGHT), (None, None), "has no column 'row1'.* id1 and id2 if --id is given"),
    ],
)
def test_known_matches_errors_name_the_location(tmp_path, text, sides, ids, word):
    with pytest.raises(DataError, match=word):
        read(tmp_path, text, sides, ids)
