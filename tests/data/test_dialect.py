"""find_dialect: the separator of files written by csv and pandas; the expected one if unclear."""

from __future__ import annotations

import csv
import io

import pandas
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from flipkd.data.dialect import Dialect, find_dialect
from flipkd.data.pairs import read_pairs
from flipkd.data.records import read_texts
from flipkd.errors import DataError

# A lone carriage return is left without quotes by csv.writer of Python 3.11 when lines end otherwise.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12) | st.text(
    ",;|\t\"' \n=", max_size=8
)
ROWS = st.lists(st.tuples(TEXT, TEXT, st.sampled_from([0, 1])), min_size=1, max_size=8)
SEPARATORS = [",", ";", "\t", "|"]
HARD = [(",;|\t", '";,"', 1), ("a;b;c", "d;e;f", 0), ("a,b,c", 'say "so", they message', 1), ("sep=;", "", 0)]


def joins_rows(rows, separator) -> bool:
    """Whether a text of a tsv file looks like the end of one row and the start of the next, which is refused as ambiguous."""
    return separator == "\t" and any("\t" in text and "\n" in text for row in rows for text in row[:2])


def as_read(dataset) -> list[tuple]:
    return list(zip(dataset["text1"][:], dataset["text2"][:], dataset["label"][:], strict=True))


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_find_dialect_of_files_written_by_csv(tmp_path_factory, suffix, separator):
    path = tmp_path_factory.mktemp("dialect") / f"pairs{suffix}"
    names = {"text1": "linker Text", "text2": "rechter", "label": "gleich?"}

    @settings(deadline=None, max_examples=20)
    @given(
        ROWS,
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        st.sampled_from(["\n", "\r\n"]),
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        st.booleans(),
        st.sampled_from(["", f"sep={separator}", f'"sep={separator}"']),
        st.sampled_from([0, 1, 3]),
    )
    @example(HARD, csv.QUOTE_MINIMAL, "\n", "utf-8", True, "", 0)
    @example(HARD, csv.QUOTE_MINIMAL, "\r\n", "utf-16", False, "", 2)
    def check(rows, quoting, end, encoding, known, hint, empty):
        assume(not joins_rows(rows, separator))
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=end)
        writer.writerows(
            [[*(names if known else names.values()), *[""] * empty], *([*row, *[""] * empty] for row in rows)]
        )
        path.write_bytes(((hint + end if hint else "") + out.getvalue()).encode(encoding))
        assert as_read(read_pairs(path, columns=None if known else names)) == rows

    check()


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_find_dialect_of_files_written_by_pandas(tmp_path_factory, separator, index):
    path = tmp_path_factory.mktemp("pandas") / "pairs.csv"

    @settings(deadline=None, max_examples=12)
    @given(ROWS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.sampled_from([None, "gzip"]))
    @example(HARD, "utf-16", "gzip")
    def check(rows, encoding, compression):
        assume(not joins_rows(rows, separator))
        table = pandas.DataFrame(rows, columns=["text1", "text2", "label"])
        table.to_csv(path, sep=separator, index=index, encoding=encoding, compression=compression, lineterminator="\n")
        assert as_read(read_pairs(path)) == rows

    check()


@pytest.mark.parametrize(
    "content, expected, found",
    [
        ("text1;text2;label\na;b, c, d;1\n", ",", ";"),
        ('"text1";"text2"\n"a";"b"\n', ",", ";"),
        ("id;text1;text2 (raw, long);label\n1;a;b;1\n", ",", ";"),
        ("text1,text2\na;b;c,d\ne;f;g,h\n", ",", ","),
        ("text1\ttext2\n", ",", "\t"),
        ("text1|text2\na|b\n", "\t", "|"),
        ("Frage;Antwort\nWas, bitte;Das\nWie;So\n", ",", ";"),
        # the header alone decides where its names are known, so that a fault in a row is told as what it is
        ("text1;text2\na;b;c\nd;e;f\n", ",", ";"),
        ("text1,text2\na,b,c\nd,e,f\n", ",", ","),
        # in doubt as the name says
        ("Frage\nWas; bitte\nWie; so\n", ",", ","),
        ("Was; wie\none\ntwo\n", ",", ","),
        ("a,b;c\n1,2;3\n", ",", ","),
        ("a,b;c\n1,2;3\n", "\t", ","),
        ("", ",", ","),
        ("\n\n", "\t", "\t"),
        ("\n\nsep=|\na|b\n", ",", "|"),
        ("SEP=;\r\na;b\r\n", ",", ";"),
        ('"sep=^"\na^b\n', ",", "^"),
        ("sep=ab\na,b\n", ",", ","),
    ],
)
def test_find_dialect_chooses_the_separator(pairs_file, content, expected, found):
    assert find_dialect(pairs_file(content), expected).separator == found


def test_dialect_counts_lines_before_the_header_in_line_numbers(pairs_file):
    assert find_dialect(pairs_file("\nsep=;\ntext1;text2\n"), ",") == Dialect(";", 2)
    path = pairs_file("sep=;\r\ntext1;text2;label\r\na;b;1\r\nc;d;x\r\n")
    with pytest.raises(DataError, match=r"row 2 \(line 4\), column 'label'"):
        read_pairs(path)
    tabs = pairs_file("sep=\t\ntext1\ttext2\na\tb\n", name="p.tsv")
    assert read_pairs(tabs)["text2"][:] == ["b"]


def test_other_separator_is_logged_once(pairs_file, caplog):
    path = pairs_file("text1;text2\na;b\n")
    for _ in range(3):
        read_pairs(path)
    assert caplog.messages == [f"{path}: the fields are separated by semicolons, not by commas; read with semicolons"]


def test_dialect_error_in_the_first_lines_has_its_row(pairs_file):
    path = pairs_file("text1;text2;label\na;b;1\nc;d;0;e\n")
    with pytest.raises(DataError, match=r"row 2 \(line 3\): 4 fields, but the header has 3"):
        read_pairs(path)
    path.write_bytes(b"text1;text2\na;b\nc;caf\xe9\n")
    with pytest.raises(DataError, match=r"row 2 \(line 3\): not UTF-8 at byte offset 21"):
        read_pairs(path)


def test_find_dialect_stops_at_a_large_row_or_an_open_quote(pairs_file):
    path = pairs_file("text1;text2\n" + "x" * 300_000 + ";b\n" + 'c;"d\n')
    with pytest.raises(DataError, match="a double quote is opened here and never closed"):
        read_pairs(path)


def test_dialect_of_one_column_of_texts_does_not_split_it_at_punctuation(pairs_file):
    texts = ["What; is", "this | that", "and\tso on"]
    assert read_texts(pairs_file("\n".join(["text", *texts])))[0] == texts
    assert read_texts(pairs_file("id;question\n1;a, b\n2;c, d\n"))[0] == ["a, b", "c, d"]


@pytest.mark.parametrize(
    "content",
    [
        'text1, text2, label\n"a, b", "c; d", 1\ne, f, 0\n',
        '"text1"; "text2"; "label"\r\na, b; "c; d"; 1\r\ne; f; 0\r\n',
    ],
)
def test_spaces_after_separators_are_not_read_where_the_header_has_them(pairs_file, content):
    assert as_read(read_pairs(pairs_file(content))) == [("a, b", "c; d", 1), ("e", "f", 0)]
    assert read_pairs(pairs_file("text1,text2\na, b\n"))["text2"][:] == [" b"]


@pytest.mark.parametrize("mark", "^~:\x01\x1f\xa6")
def test_a_separator_that_is_not_read_is_named(pairs_file, mark):
    with pytest.raises(DataError) as caught:
        read_pairs(pairs_file(f"text1{mark}text2{mark}label\na{mark}b{mark}1\n"))
    assert f"the separator seems to be {mark!a}" in str(caught.value)
