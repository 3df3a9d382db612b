"""Parts of files of pairs: which files a pattern or an address names, and what a part has of its file."""

from __future__ import annotations

import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scored_files import inputs, write_rows

from flipkd.commands.match_parts import Part, cut_file, find_inputs
from flipkd.errors import ArtefactError, ConfigError, DataError, ResourceError


def cut(file, folder, *, rows_per_part=3, keep=("id",)):
    folder.mkdir(exist_ok=True)
    return cut_file(str(file), 0, folder, columns=None, keep=list(keep), rows_per_part=rows_per_part)


def rows_of(folder, found):
    return [row for part in found.parts for row in pq.read_table(folder / f"{part.name}.parquet").to_pylist()]


def test_find_inputs_reads_patterns_paths_and_addresses_in_their_order(tmp_path):
    files = inputs(tmp_path)
    with fsspec.open("memory://bucket/d.jsonl", "w") as handle:
        handle.write("{}")
    patterns = [str(tmp_path / "c.parquet"), f"{tmp_path}/*.csv", "memory://bucket/*.jsonl"]
    assert find_inputs(patterns) == [patterns[0], *files, "memory:///bucket/d.jsonl"]
    (tmp_path / "x[1].csv").write_text("text1,text2\n")
    assert find_inputs([f"{tmp_path}/x[1].csv"]) == [f"{tmp_path}/x[1].csv"], "a name of a file is no pattern"


def test_find_inputs_refuses_two_names_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [file] = inputs(tmp_path)[:1]
    (tmp_path / "link.csv").symlink_to("a.csv")
    with pytest.raises(DataError, match=r"a\.csv: is named twice; name it once"):
        find_inputs([file, file])
    for other in ("a.csv", "./a.csv", "link.csv"):
        with pytest.raises(DataError, match=r"is named twice, also as .*a\.csv"):
            find_inputs([file, other])


@pytest.mark.parametrize(
    "pattern, error, message",
    [
        ("none/*.csv", DataError, "no file has such a name"),
        ("memory://nothing/*.csv", DataError, "no file has such a name"),
        ("nowhere://a.csv", ConfigError, "nowhere"),
    ],
)
def test_find_inputs_names_a_pattern_without_a_file(pattern, error, message):
    with pytest.raises(error, match=message):
        find_inputs([pattern])


@pytest.mark.scenario("X7")
@pytest.mark.parametrize(
    "address, message",
    [
        ("reference://{path}", "addresses begin with one of s3://"),
        ("zip://*.csv::file://{path}", "without a chain"),
        ("simplecache::file://{path}", "addresses begin with"),
        ("file://{path}::memory://x", "without a chain"),
        ("dir://{path}", "addresses begin with"),
        ("jupyter://x", "addresses begin with"),
        ("sftp://me:pass1234@host/a.csv", "has a password"),
    ],
)
def test_find_inputs_opens_no_wrapping_protocol_and_no_password(tmp_path, address, message):
    """A file of reference:// may hold Jinja templates, which run code; other protocols wrap further ones."""
    canary = tmp_path / "canary"
    code = "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}".replace("CANARY", str(canary))
    path = tmp_path / "reference.json"
    path.write_text(json.dumps({"version": 1, "templates": {"u": code}, "refs": {"a.csv": ["{{u}}", 0, 1]}}))
    with pytest.raises(ConfigError, match=message) as caught:
        find_inputs([address.format(path=path)])
    assert "pass1234" not in str(caught.value)
    assert not canary.exists()


def test_find_inputs_reports_what_a_store_raises(monkeypatch):
    def fail(*_):
        raise KeyError("no credentials")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    with pytest.raises(ResourceError, match=r"s3://b/x\.csv: cannot be read .*no credentials"):
        find_inputs(["s3://b/x.csv"])


def test_cut_file_has_each_row_once_with_its_number_and_texts_alone(tmp_path):
    rows = [(f"text {k}", "a card", k) for k in range(8)]
    rows[1], rows[4] = ("", "a card", 1), ("x", " \u200b", 4)
    found = cut(write_rows(tmp_path / "a.csv", rows), tmp_path / "parts")
    file = str(tmp_path / "a.csv")
    assert found.rows == 8
    assert found.parts == [Part(f"00000-{first:012d}", file, rows) for first, rows in ((1, 2), (4, 2), (7, 2))]
    assert [(row["row"], row["text1"], row["id"]) for row in rows_of(tmp_path / "parts", found)] == [
        (k + 1, text, str(number)) for k, (text, _, number) in enumerate(rows) if k not in (1, 4)
    ]
    lines = (tmp_path / "parts/00000.rejected.jsonl").read_text("utf-8").splitlines()
    rejected = [json.loads(line) for line in lines]
    assert [(row["file"], row["row"], row["reason"]) for row in rejected] == [(file, k, "empty text") for k in (2, 5)]


def test_cut_file_leaves_out_a_part_without_a_row_to_score(tmp_path):
    rows = [("", "a card", k) for k in range(3)] + [("text", "a card", 3)]
    found = cut(write_rows(tmp_path / "a.csv", rows), tmp_path / "parts")
    assert [(part.name, part.rows) for part in found.parts] == [("00000-000000000004", 1)]


@pytest.mark.parametrize("value, text", [("q é", "q é"), (7, "7"), (None, None), ({"n": [1]}, '{"n": [1]}')])
def test_cut_file_writes_values_that_are_no_texts_as_json(tmp_path, value, text):
    (tmp_path / "c.jsonl").write_text(json.dumps({"text1": "x", "text2": "y", "id": value}) + "\n")
    found = cut(tmp_path / "c.jsonl", tmp_path / "parts")
    assert [row["id"] for row in rows_of(tmp_path / "parts", found)] == [text]


def test_cut_file_reads_a_parquet_file(tmp_path):
    pq.write_table(pa.table({"text1": ["x"], "text2": ["y"], "id": [3]}), tmp_path / "c.parquet")
    found = cut(tmp_path / "c.parquet", tmp_path / "parts")
    assert rows_of(tmp_path / "parts", found) == [{"row": 1, "text1": "x", "text2": "y", "id": "3"}]


def test_cut_file_copies_an_address_and_names_one_without_a_file(tmp_path):
    with fsspec.open("memory://bucket/far.jsonl", "w") as handle:
        handle.write(json.dumps({"text1": "far", "text2": "away", "id": "q"}) + "\n")
    found = cut("memory://bucket/far.jsonl", tmp_path / "parts")
    assert rows_of(tmp_path / "parts", found) == [{"row": 1, "text1": "far", "text2": "away", "id": "q"}]
    assert found.parts[0].file == "memory://bucket/far.jsonl"
    with pytest.raises(DataError, match=r"memory://nothing\.csv: no such file"):
        cut("memory://nothing.csv", tmp_path / "others")


def test_cut_file_returns_what_was_cut_and_refuses_a_changed_file(tmp_path):
    [file, _] = inputs(tmp_path)
    first = cut(file, tmp_path / "parts")
    (tmp_path / "parts" / f"{first.parts[0].name}.parquet").unlink()
    assert cut(file, tmp_path / "parts", rows_per_part=1) == first, "nothing is cut again"
    with open(file, "a") as handle:
        handle.write("one more,pair,9\n")
    with pytest.raises(DataError, match=r"a\.csv: has changed since its first pairs were scored"):
        cut(file, tmp_path / "parts")


@pytest.mark.parametrize("content", ["[]", "{}", '{"parts": [{}]}', "{"])
def test_cut_file_names_a_record_that_is_not_its_own(tmp_path, content):
    (tmp_path / "00000.json").write_text(content)
    with pytest.raises(ArtefactError, match=r"00000\.json.*"):
        cut(inputs(tmp_path)[0], tmp_path)
