"""Files of scored pairs: columns by name, folders, joins by id, errors with the row."""

import json

import pytest

from flipkd.data.scored import join_columns, read_by_id, read_columns, scored_files
from flipkd.errors import DataError


def written(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_read_columns_are_numbers_labels_and_texts(tmp_path):
    file = written(tmp_path, "a.csv", "text1,score,gold,id\nx,-1.5,yes,7\ny,2,,8\n")
    found = read_columns(file, required=("score", "id"), optional=("label", "text1", "probability"))
    assert found == {
        "score": [-1.5, 2.0],
        "id": ["7", "8"],
        "label": [1, None],
        "text1": ["x", "y"],
        "probability": [None, None],
    }


def test_join_columns_and_read_columns_accept_json_lines_that_leave_columns_out(tmp_path):
    rows = [{"id": 1, "score": 0.5}, {"id": 2, "score": 1, "label": 0}]
    file = written(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = read_columns(file, required=("score",), optional=("label", "id"))
    assert found == {"score": [0.5, 1.0], "label": [None, 0], "id": [1, 2]}
    assert join_columns([found, found])["id"] == [1, 2, 1, 2]


def test_scored_files_of_a_folder_are_in_order(tmp_path):
    names = [
        "a.csv",
        "b.jsonl.10",
        "b.jsonl.2",
        "b.jsonl",
    ]  # as a server rotates them: the oldest has the highest number
    for name in (*names, ".hidden.csv", "notes.txt", "rejected.jsonl"):
        written(tmp_path, name, '{"score": 1}\n')
    assert [file.name for file in scored_files(str(tmp_path))] == names
    assert read_columns(tmp_path / "b.jsonl.10", required=("score",)) == {"score": [1.0]}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file in this folder ends in"):
        scored_files(str(tmp_path / "empty"))


def test_read_by_id_joins_values_in_the_order_of_the_file(tmp_path):
    file = written(tmp_path, "a.csv", "id,outcome\nb,1\na,0\nc,\n")
    assert list(read_by_id(file, "outcome").items()) == [("b", 1), ("a", 0)]


@pytest.mark.parametrize(
    "text, message",
    [
        ("id,outcome\na,1\na,0\n", "row 2: the id 'a' occurs twice"),
        ("id,outcome\na,2\n", "row 1, column outcome: got '2'"),
        ("id,result\na,1\n", "has no column 'outcome'"),
    ],
)
def test_read_by_id_refuses_a_wrong_file_of_values(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_by_id(written(tmp_path, "a.csv", text), "outcome")


def test_read_columns_refuses_a_wrong_score_with_its_row(tmp_path):
    with pytest.raises(DataError, match=r"row 2 \(line 3\), column 'score': got 'high'"):
        read_columns(written(tmp_path, "a.csv", "score\n1\nhigh\n"), required=("score",))
