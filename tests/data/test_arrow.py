"""Parquet files and hub data sets: strings are unchanged; damaged files and decompression bombs are refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.data import arrow
from flipkd.data.pairs import read_blocks, read_pairs
from flipkd.data.readers import BATCH_ROWS
from flipkd.errors import DataError, FlipkdError, ResourceError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@pytest.fixture
def pairs_file(tmp_path):
    """`pairs_file(columns, **options)` -> path of a Parquet file."""

    def write(columns, **options):
        path = tmp_path / "pairs.parquet"
        pq.write_table(pa.table(columns), path, **options)
        return path

    return write


def refused(path) -> str:
    with pytest.raises(DataError) as caught:
        read_pairs(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_read_pairs_round_trips_parquet(tmp_path_factory):
    path = tmp_path_factory.mktemp("round") / "pairs.parquet"

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.tuples(TEXT, TEXT, st.sampled_from([0, 1, None])), min_size=1, max_size=5))
    def check(rows):
        left, right, label = (list(column) for column in zip(*rows, strict=True))
        pq.write_table(pa.table({"text1": left, "text2": right, "label": pa.array(label, pa.int8())}), path)
        dataset = read_pairs(path)
        assert dataset["text1"][:] == left
        assert dataset["text2"][:] == right
        assert dataset["label"][:] == label

    check()


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
@pytest.mark.parametrize("store_schema", [True, False])
def test_read_pairs_reads_every_string_type(pairs_file, kind, store_schema):
    texts = ["NA", "007", "", "\u00e9\u0301 \u200b"] * (BATCH_ROWS // 2)
    path = pairs_file({"text_b": pa.array(texts, kind), "text_a": texts}, store_schema=store_schema)
    dataset = read_pairs(path)
    assert dataset["text1"][:] == dataset["text2"][:] == texts
    assert dataset.features == datasets.Features(text1=datasets.Value("string"), text2=datasets.Value("string"))


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_read_pairs_reads_every_string_encoding(pairs_file, encoding):
    columns = {"text1": ["prefix a", "prefix b"], "text2": ["c", "d"]}
    path = pairs_file(columns, use_dictionary=False, column_encoding=dict.fromkeys(columns, encoding))
    assert read_pairs(path)["text1"][:] == ["prefix a", "prefix b"]


@pytest.mark.parametrize(
    "label",
    [
        pa.array([1, 0, None], pa.int8()),
        pa.array([1.0, 0.0, float("nan")]),
        pa.array([True, False, None]),
        pa.array(["yes", "no", ""]),
        pa.array(["match", "nomatch", None]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_read_pairs_reads_labels_of_every_type(pairs_file, label):
    dataset = read_pairs(pairs_file({"text1": ["a", "b", "c"], "text2": ["d", "e", "f"], "label": label}))
    assert dataset["label"][:] == [1, 0, None]
    assert dataset.features["label"] == datasets.Value("int64")


@pytest.mark.parametrize(
    "column",
    [pa.array([b"a"]), pa.array([7]), pa.array([["a"]]), pa.array([b"a"]).dictionary_encode()],
    ids=lambda c: str(c.type),
)
def test_arrow_text_columns_need_type_string(pairs_file, column):
    message = refused(pairs_file({"text1": ["a"], "text2": column}))
    assert f"column 'text2' has type {str(column.type).split('<')[0]}" in message


@pytest.mark.parametrize(
    "column, said",
    [
        (["a", None], "row 2, column 'text2': the text is missing"),
        (["a", "b\0"], "row 2, column 'text2': NUL character at position 2"),
    ],
)
def test_arrow_invalid_texts_are_reported_with_row_and_column(pairs_file, column, said):
    assert said in refused(pairs_file({"text1": ["a", "b"], "text2": column}))


def test_arrow_invalid_labels_in_a_later_batch_are_reported_with_their_row(pairs_file):
    label = [0] * 2 * BATCH_ROWS
    label[BATCH_ROWS + 1] = -1
    message = refused(pairs_file({"text1": ["a"] * len(label), "text2": ["b"] * len(label), "label": label}))
    assert f"row {BATCH_ROWS + 2}, column 'label': got -1" in message


def test_arrow_refuses_empty_files_and_duplicate_columns(tmp_path, pairs_file):
    assert "has columns but no rows" in refused(
        pairs_file({"text1": pa.array([], pa.string()), "text2": pa.array([], pa.string())})
    )
    (tmp_path / "none.parquet").write_bytes(b"")
    assert "empty (0 bytes)" in refused(tmp_path / "none.parquet")
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text1", "text2", "text2"]), path)
    assert "duplicate column name 'text2' (2 times)" in refused(path)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([9 * 10**18] * 2, pa.timestamp("us")),
        pa.array([1, 2], pa.timestamp("us", tz="Nowhere/None")),
        pa.array([2**31 - 1] * 2, pa.int32()).cast(pa.date32()),  # PostgreSQL's infinity
        pa.array([2**62] * 2, pa.duration("s")),
    ],
    ids=lambda values: str(values.type),
)
def test_arrow_names_a_column_with_a_time_that_python_cannot_hold(pairs_file, values):
    path = pairs_file({"text1": ["a", "b"], "text2": ["c", "d"], "when": values})
    assert len(read_pairs(path)) == 2
    with pytest.raises(DataError, match=r"pairs\.parquet: column 'when': a value of type .* cannot be read"):
        list(read_blocks(path, keep=["when"]))


def test_arrow_string_column_with_invalid_utf8_is_refused(pairs_file):
    column = pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers())
    assert "not UTF-8" in refused(pairs_file({"text1": column, "text2": ["b"]}))


@pytest.mark.slow
@pytest.mark.scenario("D16")
def test_damaged_parquet_is_refused(tmp_path):
    columns = {"text1": ["left text one", "left two"], "text2": ["right one", "right two"], "label": [0, 1]}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, write_page_checksum=True, compression="none")
    whole = out.getvalue()
    path = tmp_path / "pairs.parquet"
    path.write_bytes(whole)
    good = read_pairs(path).to_dict()
    for end in (3, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert "incomplete or damaged Parquet file" in refused(path)
    position = whole.index(b"right two")
    path.write_bytes(whole[:position] + b"s" + whole[position + 1 :])
    assert "incomplete or damaged Parquet file" in refused(path)
    values = range(whole.index(b"left text one"), whole.rindex(b"right two") + len(b"right two"))
    for position in sorted({*values, *range(0, len(whole), 7)}):
        flipped = whole[position] ^ (1 << position % 8)
        path.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
        try:
            read = read_pairs(path).to_dict()
        except FlipkdError:
            continue
        assert read == good or set(read) != set(good)  # a flip in a column's name hides that column


def nested(kind: str, values: int):
    """Two rows with a list or struct of a repeated text that is stored once in the file."""
    zeros = pa.array(np.zeros(values, np.int32))
    inside = pa.DictionaryArray.from_arrays(zeros, pa.array(["yes " * 50]))
    if kind == "plain":
        inside = pa.array(["y"]).take(zeros)
    column = pa.ListArray.from_arrays(pa.array([0, values // 2, values], pa.int32()), inside)
    return pa.StructArray.from_arrays([column], ["x"]) if kind == "struct" else column


@pytest.mark.scenario("D15")
@pytest.mark.parametrize("kind", ["dictionary", "plain", "struct"])
@pytest.mark.parametrize("store_schema", [True, False])
@pytest.mark.parametrize("name", ["label", "score", "group", "kept"])
def test_arrow_refuses_a_used_nested_column_before_decoding(tmp_path, kind, store_schema, name):
    path = tmp_path / "bomb.parquet"
    table = pa.table({"text1": ["a", "b"], "text2": ["c", "d"], name: nested(kind, 1_000_000)})
    pq.write_table(table, path, compression="zstd", store_schema=store_schema)
    assert path.stat().st_size < 10_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match=f"column '{name}' has type '(list|struct).*one plain value per row"):
        list(read_blocks(path, keep=["kept"])) if name == "kept" else read_pairs(path)
    assert pa.total_allocated_bytes() - before < 1_000_000
    if name == "kept":  # a column that nobody asks for costs nothing and is no concern
        assert read_pairs(path)["text1"][:] == ["a", "b"]


def test_arrow_decode_limit_counts_dictionary_values_at_full_size(pairs_file, monkeypatch):
    monkeypatch.setattr(arrow, "DECODE_LIMIT", 100_000)
    for value, kind in (("x" * 100, pa.string()), (b"x" * 100, pa.binary()), ("", pa.string())):
        rows = 1500 if value else 30_000
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([value], kind))
        texts = pa.array(["a"] * rows).dictionary_encode()
        path = pairs_file({"text1": texts, "text2": texts, "label": column})
        with pytest.raises(ResourceError, match="decodes to more than 100,000 bytes"):
            read_pairs(path)


BOMB = """
import resource, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
rows = 20_000
zeros = pa.array(np.zeros(rows, np.int32))
table = pa.table({
    "text1": pa.DictionaryArray.from_arrays(zeros, pa.array(["x" * 1_000_000])),
    "text2": pa.DictionaryArray.from_arrays(zeros, pa.array(["y"])),
})
options = {"store_schema": sys.argv[2] == "1", "dictionary_pagesize_limit": 2**24}
pq.write_table(table, sys.argv[1], compression="zstd", **options)
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
from flipkd.cli import main
sys.argv = ["flipkd", "check", sys.argv[1]]
main()
"""


@pytest.mark.slow
@pytest.mark.scenario("D15")
@pytest.mark.parametrize("store_schema", ["0", "1"])
def test_parquet_decompression_bomb_is_refused_with_little_memory(tmp_path, store_schema):
    path = tmp_path / "bomb.parquet"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BOMB, str(path), store_schema]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 5, done.stderr
    assert "decodes to more than 4,294,967,296 bytes" in done.stderr
    assert path.stat().st_size < 100_000


def hub(monkeypatch, answer):
    def load_dataset(path, split=None):
        assert path == "someone/pairs"
        return answer if split is None else answer[split]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


def test_open_hub_reads_a_data_set(monkeypatch):
    labels = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features(sentence1=datasets.Value("string"), sentence2=datasets.Value("string"), label=labels)
    part = datasets.Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1, 0]}, features)
    hub(monkeypatch, datasets.DatasetDict(train=part.select([1, 0]), test=part))
    with pytest.raises(DataError, match="has the splits train, test; choose one as someone/pairs:train"):
        read_pairs("someone/pairs")
    dataset = read_pairs("someone/pairs", split="train")
    assert dataset.to_dict() == {"text1": ["b", "a"], "text2": ["d", "c"], "label": [0, 1]}
    assert read_pairs("someone/pairs:train").to_dict() == dataset.to_dict()
    hub(monkeypatch, datasets.DatasetDict(test=part))
    assert read_pairs("someone/pairs")["text1"][:] == ["a", "b"]


def test_open_hub_reports_an_unavailable_data_set():
    with pytest.raises(DataError, match="could not be loaded as a hub data set"):
        read_pairs("nobody-at-all/no-such-pairs")
