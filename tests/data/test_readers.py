"""Readers of csv, tsv and jsonl: cells are unchanged, every error has its location."""

from __future__ import annotations

import csv
import io
import json
import time
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flipkd.data.pairs import read_pairs
from flipkd.data.readers import BATCH_ROWS, CELL_LIMIT
from flipkd.data.records import read_texts
from flipkd.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
ROWS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5)
HARD = [
    ("a\r\nb", "c\rd"),
    ('say "hi"', '"'),
    ("007", "NA"),
    ("👩‍👩‍👧", "שלום עולם"),
    ("caf\u00e9", "cafe\u0301"),
    ("zero\u200bwidth", "\ufefflead"),
    ("tab\there", "a\u2028b\x85c\x0bd\x1ce"),
    (" padded ", ""),
]
NULL_WORDS = ["NA", "None", "none", "nan", "NaN", "null", "NULL", "N/A", "n/a", "", "#N/A", "007", "1e3", "True"]


@pytest.fixture
def pairs_file(tmp_path):
    """`pairs_file(name, content)` -> path of a file with these bytes (or this text as UTF-8)."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path, **options) -> str:
    with pytest.raises(DataError) as caught:
        read_pairs(path, **options)
    message = str(caught.value)
    assert str(path) in message
    return message


def texts(dataset) -> list[tuple[str, str]]:
    return list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))


def separated(rows, delimiter=",", terminator="\n") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=terminator, quoting=csv.QUOTE_ALL)
    writer.writerows([("text1", "text2"), *rows])
    return out.getvalue().encode()


@pytest.mark.scenario("D5", "D6")
@pytest.mark.parametrize("suffix, delimiter", [(".csv", ","), (".tsv", "\t")])
@pytest.mark.parametrize("terminator", ["\n", "\r\n"])
def test_separated_files_round_trip(tmp_path_factory, suffix, delimiter, terminator):
    path = tmp_path_factory.mktemp("round") / f"pairs{suffix}"

    @settings(deadline=None, max_examples=40)
    @given(ROWS)
    @example(HARD)
    @example([(word, word) for word in NULL_WORDS])
    def check(rows):
        path.write_bytes(separated(rows, delimiter, terminator))
        assert texts(read_pairs(path)) == rows

    check()


@pytest.mark.scenario("D5", "D6")
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_lines_round_trip(tmp_path_factory, ascii_only):
    path = tmp_path_factory.mktemp("round") / "pairs.jsonl"

    @settings(deadline=None, max_examples=40)
    @given(ROWS)
    @example(HARD)
    @example([(word, word) for word in NULL_WORDS])
    def check(rows):
        lines = [json.dumps({"text1": a, "text2": b}, ensure_ascii=ascii_only) for a, b in rows]
        path.write_bytes("".join(line + "\n" for line in lines).encode())
        assert texts(read_pairs(path)) == rows

    check()


@settings(deadline=None, max_examples=150)
@given(content=st.binary(max_size=60), suffix=st.sampled_from([".csv", ".tsv", ".jsonl"]), header=st.booleans())
@example(content=b"[" * 100_000, suffix=".jsonl", header=False)
def test_random_bytes_are_read_or_refused_with_data_error(tmp_path_factory, content, suffix, header):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(
        (b"text1,text2\n".replace(b",", b"\t" if suffix == ".tsv" else b",") if header else b"") + content
    )
    try:
        dataset = read_pairs(path)
    except DataError as error:
        message = str(error)
    else:
        message = str(path)
        assert len(dataset) > 0
    assert str(path) in message


@pytest.mark.scenario("D2")
def test_read_pairs_leaves_a_byte_order_mark_out_of_the_first_column_name(pairs_file):
    assert texts(read_pairs(pairs_file("b.csv", b"\xef\xbb\xbftext1,text2\na,b\n"))) == [("a", "b")]
    assert texts(read_pairs(pairs_file("b.jsonl", b'\xef\xbb\xbf{"text1": "a", "text2": "b"}\n'))) == [("a", "b")]


@pytest.mark.parametrize(
    "content", ["text1,text2\ra,b\rc,d\r", "text1,text2\r\n\r\na,b\r\n\r\nc,d", "text1,text2\na,b\nc,d"]
)
def test_all_line_ends_and_blank_lines(pairs_file, content):
    assert texts(read_pairs(pairs_file("p.csv", content))) == [("a", "b"), ("c", "d")]


def test_rows_of_several_batches_keep_order_and_numbers(pairs_file):
    count = 2 * BATCH_ROWS + 3
    rows = [f"left {i},right {i},{i % 2}" for i in range(count)]
    dataset = read_pairs(pairs_file("p.csv", "\n".join(["text1,text2,label", *rows])))
    assert dataset["text1"][:] == [f"left {i}" for i in range(count)]
    assert dataset["label"][:] == [i % 2 for i in range(count)]
    rows[BATCH_ROWS + 4] = "a,b,maybe"
    message = refused(pairs_file("p.csv", "\n".join(["text1,text2,label", *rows])))
    assert f"row {BATCH_ROWS + 5} (line {BATCH_ROWS + 6}), column 'label'" in message


def test_cell_with_line_breaks_is_one_row(pairs_file):
    message = refused(pairs_file("p.csv", 'text1,text2,label\n"a\nb\nc",d,1\n\ne,f,7\n'))
    assert "row 2 (line 6), column 'label'" in message


@pytest.mark.scenario("D10")
@pytest.mark.parametrize(
    "name, content, said",
    [
        ("p.csv", b"", "empty (0 bytes)"),
        ("p.csv", b"\n\r\n\n", "only blank lines"),
        ("p.csv", b"text1,text2\n", "a header line but no rows"),
        ("p.jsonl", b"", "empty (0 bytes)"),
        ("p.jsonl", b" \n\n", "no rows, only blank lines"),
    ],
)
def test_empty_files_are_refused(pairs_file, name, content, said):
    assert said in refused(pairs_file(name, content))


@pytest.mark.scenario("D13")
@pytest.mark.parametrize(
    "row, said",
    [
        ("a,b\n", "row 2 (line 3): 2 fields, but the header has 3"),
        ("a,b,1,x\n", "row 2 (line 3): 4 fields, but the header has 3"),
        ('"a,b,1\nc,d,0\n', "row 2 (line 3): a double quote is opened here and never closed"),
        ('"a"b,c,1\n', "row 2 (line 3): text after a closing double quote"),
    ],
)
def test_read_pairs_refuses_ragged_rows_and_quote_errors(pairs_file, row, said):
    assert said in refused(pairs_file("p.csv", "text1,text2,label\na,b,1\n" + row))


def test_read_pairs_does_not_join_rows_of_an_unquoted_tsv_with_quotes(pairs_file):
    rows = 'foo\t"Stop him\t1\nx\ty said"\t0\np\tq\t1\n'
    said = refused(pairs_file("p.tsv", "text1\ttext2\tlabel\n" + rows))
    assert "row 1 (line 2): double quotes join 2 lines, each of which alone has 3 fields" in said
    quoted = pairs_file("q.tsv", 'text1\ttext2\tlabel\nfoo\t"two\nlines"\t1\n')
    assert texts(read_pairs(quoted)) == [("foo", "two\nlines")]


@pytest.mark.scenario("D13")
def test_read_pairs_refuses_duplicate_columns(pairs_file):
    assert "duplicate column name 'text2' (2 times)" in refused(pairs_file("p.csv", "text1,text2,text2\na,b,c\n"))


@pytest.mark.scenario("D3")
def test_read_pairs_refuses_invalid_utf8_with_its_position(pairs_file):
    good = b"text1,text2\n" + b"a,b\n" * 999
    message = refused(pairs_file("p.csv", good + "caf\u00e9,b\n".encode("latin-1")))
    assert f"row 1000 (line 1001): not UTF-8 at byte offset {len(good) + 3} (byte 0xe9)" in message
    assert "Save as, CSV UTF-8" in message
    assert "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE" in message
    message = refused(pairs_file("p.jsonl", b'\n{"text1": "caf\xe9"}\n'))
    assert "row 1 (line 2): not UTF-8 at byte offset 15" in message
    marked = b"\xef\xbb\xbftext1,\xff\n"
    assert "header (line 1): not UTF-8 at byte offset 9" in refused(pairs_file("p.csv", marked))


@pytest.mark.scenario("D3")
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["p.csv", "p.tsv"])
def test_read_pairs_refuses_utf16_without_byte_order_mark(pairs_file, name, encoding):
    assert "UTF-16" in refused(pairs_file(name, "text1,text2\na,b\n".encode(encoding)))


@pytest.mark.scenario("D1")
@pytest.mark.parametrize(
    "name, content",
    [
        ("p.csv", "text1,text2\na,b\nc,d\0e\n"),
        ("p.tsv", "text1\ttext2\na\tb\nc\td\0e\n"),
        ("p.jsonl", '{"text1": "a", "text2": "b"}\n{"text1": "c", "text2": "d\\u0000e"}\n'),
    ],
)
def test_read_pairs_refuses_nul_characters(pairs_file, name, content):
    message = refused(pairs_file(name, content))
    assert "row 2 (line " in message
    assert "column 'text2': NUL character at position 2" in message


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_cell_limit(pairs_file, name):
    earlier = csv.field_size_limit()
    for length, fits in ((CELL_LIMIT, True), (CELL_LIMIT + 1, False)):
        cell = "x" * length
        content = f"text1,text2\n{cell},b\n" if name == "p.csv" else json.dumps({"text1": cell, "text2": "b"})
        path = pairs_file(name, content)
        if fits:
            assert read_pairs(path)["text1"][0] == cell
        else:
            message = refused(path)
            assert "row 1 (line" in message
            assert "10,000,000" in message
            assert len(message) < 400
    assert csv.field_size_limit() == earlier


@pytest.mark.scenario("D4")
def test_read_pairs_reads_a_large_cell_in_every_format_with_bounded_memory(tmp_path):
    text = "caf\u00e9, 007 " * 200_000
    pq.write_table(pa.table({"text1": [text], "text2": ["b"]}), tmp_path / "p.parquet")
    (tmp_path / "p.jsonl").write_text(json.dumps({"text1": text, "text2": "b"}), encoding="utf-8")
    for name, separator in (("p.csv", ","), ("p.tsv", "\t")):
        (tmp_path / name).write_bytes(separated([(text, "b")], separator, "\n"))
    for file in sorted(tmp_path.glob("p.*")):
        tracemalloc.start()
        try:
            assert texts(read_pairs(file)) == [(text, "b")], file.name
            assert tracemalloc.get_traced_memory()[1] < 10 * 2 * len(text), file.name  # two bytes a character
        finally:
            tracemalloc.stop()
    pq.write_table(pa.table({"text1": ["x" * (CELL_LIMIT + 1)], "text2": ["b"]}), tmp_path / "p.parquet")
    assert "row 1" in (message := refused(tmp_path / "p.parquet"))
    assert "10,000,000" in message


@pytest.mark.scenario("D14")
@pytest.mark.parametrize(
    "line, said",
    [
        ('{"text1": "a", "te', "it is the last line, so the file may be incomplete"),
        ('{"text1": "a", "text1": "b", "text2": "c"}\n', "duplicate key 'text1'"),
        ('{"text1": "a", "text2": "c", "x": {"k": 1, "k": 2}}\n', "duplicate key 'k'"),
        ('{"text1": ' + "[" * 100_000 + "\n", "nested too deeply"),
        ('{"text1": ' + "9" * 5000 + ', "text2": "b"}\n', "too many digits"),
        ('["a", "b", 1]\n', "expected one JSON object per line, got a list"),
        ('"a"\n', "expected one JSON object per line, got a str"),
        ("nonsense\n", "not JSON at character 1"),
        ("{\n", "one line must hold the whole object"),
        ("[\n", "one line must hold the whole object"),
    ],
)
def test_invalid_json_lines_are_refused(pairs_file, line, said):
    message = refused(pairs_file("p.jsonl", '{"text1": "a", "text2": "b"}\n' + line))
    assert "row 2 (line 2): " in message
    assert said in message


@pytest.mark.scenario("D6")
@pytest.mark.parametrize(
    "value, kind", [("7", "int"), ("1.5", "float"), ("true", "bool"), ("[]", "list"), ("NaN", "float")]
)
def test_read_pairs_refuses_json_texts_that_are_not_strings(pairs_file, value, kind):
    message = refused(pairs_file("p.jsonl", f'{{"text1": "a", "text2": {value}}}\n'))
    assert "row 1 (line 1), column 'text2': " in message
    assert f"is a {kind}, but a text must be a string" in message
    assert message.endswith("write the text alone into this column" if kind == "list" else "quote it")


@pytest.mark.parametrize("rest", [', "text2": null', ""])
def test_read_pairs_refuses_a_missing_json_text(pairs_file, rest):
    content = '{"text1": "a", "text2": "b"}\n\n{"text1": "c"' + rest + "}\n"
    assert "row 2 (line 3), column 'text2': the text is missing" in refused(pairs_file("p.jsonl", content))


def test_read_pairs_refuses_a_lone_surrogate(pairs_file):
    message = refused(pairs_file("p.jsonl", '{"text1": "a", "text2": "b"}\n{"text1": "\\ud800", "text2": "b"}\n'))
    assert "row 2 (line 2), column 'text1': lone surrogate" in message


def test_read_pairs_accepts_json_keys_that_are_missing_in_some_rows(pairs_file):
    content = '{"text1": "a", "text2": "b"}\n{"label": true, "text2": "d", "text1": "c", "extra": {}}\n'
    dataset = read_pairs(pairs_file("p.ndjson", content))
    assert dataset["label"][:] == [None, 1]
    assert texts(dataset) == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize("inside", [False, True])
def test_read_pairs_finds_a_duplicate_key_among_many_quickly(pairs_file, inside):
    keys = ", ".join(f'"k{i}": 1' for i in range(60_000)) + ', "k59999": 2'
    more = f'"x": {{{keys}}}' if inside else keys
    line = f'{{"text1": "a", "text2": "b", {more}}}\n'
    start = time.process_time()
    assert "row 1 (line 1): duplicate key 'k59999' in one object" in refused(pairs_file("p.jsonl", line))
    assert time.process_time() - start < 3


def test_read_texts_error_does_not_list_all_of_many_keys(pairs_file):
    line = json.dumps({f"key {i}": 1 for i in range(100_000)}) + "\n"
    start = time.process_time()
    assert len(refused(pairs_file("p.jsonl", line))) < 3000
    with pytest.raises(DataError) as caught:
        read_texts(pairs_file("p.jsonl", line), column="text")
    assert len(str(caught.value)) < 3000
    assert time.process_time() - start < 10
