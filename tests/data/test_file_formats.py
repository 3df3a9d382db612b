"""Files of another format than their name: read if supported, otherwise refused with the name of the format."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet
import pytest

from flipkd.data.pairs import read_pairs
from flipkd.errors import DataError

CSV = b"text1,text2,label\na,b,1\nc,d,0\n"


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, CSV)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pairs.csv"))
    return out.getvalue()


def written(write) -> bytes:
    out = io.BytesIO()
    write(pa.table({"text1": ["a"], "text2": ["b"]}), out)
    return out.getvalue()


PARQUET = written(pyarrow.parquet.write_table)
REFUSED = {
    "an Excel workbook (.xlsx); save the sheet as csv": zipped("[Content_Types].xml", "xl/workbook.xml"),
    "a spreadsheet of LibreOffice or Numbers; save": zipped("mimetype", "content.xml"),
    "a zip archive; unpack it": zipped("pairs.csv"),
    "a zip archive": zipped("pairs.csv")[:40],
    "an old Excel workbook (.xls)": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
    "a tar archive; unpack it": tarred(),
    "compressed with bzip2": bz2.compress(CSV),
    "compressed with xz": lzma.compress(CSV),
    "an Arrow or Feather file": written(pyarrow.feather.write_feather),
    "an SQLite database": b"SQLite format 3\0" + b"\0" * 100,
    "a PDF": b"%PDF-1.7\n",
    "a Python pickle, which is refused": pickle.dumps([("a", "b")]),
    "a Git LFS pointer, not the data; get the data with git lfs pull": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
    ),
    "a RAR archive; unpack it": b"Rar!\x1a\x07\x00" + b"\0" * 20,
    "compressed with compress (.Z)": b"\x1f\x9d\x90" + b"\0" * 20,
    "compressed with lzma": lzma.compress(CSV, format=lzma.FORMAT_ALONE),
    "compressed with lz4": b"\x04\x22\x4d\x18" + b"\0" * 20,
    "an Avro file": b"Obj\x01" + b"\0" * 20,
    "an ORC file": written(pyarrow.orc.write_table),
    "an Arrow stream": b"\xff\xff\xff\xff" + b"\0" * 20,
    "a file of R": b"RDX3\nX\n\0\0\0\x03",
    "a file of Stata": b"<stata_dta><header>",
    "a file of SPSS": b"$FL2@(#) SPSS DATA FILE",
    "an image": b"\x89PNG\r\n\x1a\n",
    "a web page or XML, not the data (perhaps": b"<TABLE><tr><td>text1</td></tr></TABLE>",
    "a web page or XML, not the data": b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n",
    "a web page or XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
}


@pytest.mark.scenario("A10")
@pytest.mark.parametrize(
    "name", ["pairs.csv", "pairs.tsv", "pairs.jsonl", "pairs.parquet", "pairs.csv.gz", "pairs.xlsx", "pairs"]
)
@pytest.mark.parametrize("message", REFUSED)
def test_refuse_other_format_names_the_format(tmp_path, name, message):
    path = tmp_path / name
    for content in (REFUSED[message], gzip.compress(REFUSED[message])):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_pairs(path)
        if content == REFUSED[message] or (
            "zip" not in message and "spread" not in message and "Excel workbook (.xlsx" not in message
        ):
            assert str(caught.value).startswith(f"{path}: is {message}")


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl", "pairs.csv.gz"])
def test_parquet_is_recognised_under_any_name(tmp_path, name, caplog):
    (tmp_path / name).write_bytes(PARQUET)
    assert read_pairs(tmp_path / name).to_dict() == {"text1": ["a"], "text2": ["b"]}
    assert (
        f"{tmp_path / name}: is a Parquet file, although its name says otherwise; read as Parquet" in caplog.messages
    )


@pytest.mark.parametrize(
    "name, content",
    [("p.parquet", gzip.compress(PARQUET)), ("p.csv", gzip.compress(PARQUET)), ("p.parquet.gz", gzip.compress(CSV))],
    ids=[
        "p.parquet",
        "p.csv",
        "p.parquet.gz",
    ],  # gzip writes the time of day, and all workers must collect the same ids
)
def test_compressed_parquet_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="is compressed with gzip, which is not supported for Parquet; decompress it"):
        read_pairs(tmp_path / name)


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.parquet", "pairs.csv.gz"])
def test_json_lines_are_recognised_under_any_name(tmp_path, name, caplog):
    (tmp_path / name).write_bytes(b'\xef\xbb\xbf\n{ "text1": "a", "text2": "b"}\n')
    assert read_pairs(tmp_path / name).to_dict() == {"text1": ["a"], "text2": ["b"]}
    assert f"{tmp_path / name}: is JSON, although its name says otherwise; read as JSON lines" in caplog.messages
    (tmp_path / name).write_text('[\n {"text1": "a", "text2": "b"}]')
    with pytest.raises(DataError, match=r"not JSON at character 3: .*; one line must hold the whole object"):
        read_pairs(tmp_path / name)


def test_file_formats_name_a_table_under_another_name_as_what_it_is(tmp_path):
    for name, message in {
        "p.parquet": "does not begin with PAR1; .*name a text file .csv",
        "p.jsonl": "name it .csv",
    }.items():
        (tmp_path / name).write_bytes(CSV)
        with pytest.raises(DataError, match=message):
            read_pairs(tmp_path / name)
    (tmp_path / "p.csv.gz").write_bytes(gzip.compress(gzip.compress(CSV)))
    with pytest.raises(DataError, match="is compressed twice; decompress it once"):
        read_pairs(tmp_path / "p.csv.gz")


@pytest.mark.parametrize("first", ["ORC", "X", "Rar", "PK", "BZ", "%PD", "text1,<html>", "version https"])
def test_file_formats_do_not_refuse_texts_with_similar_first_bytes(tmp_path, first):
    row = "a,b,c" if "," in first else "a,b"
    (tmp_path / "p.csv").write_text(f"{first},text2\n{row}\n")
    dataset = read_pairs(tmp_path / "p.csv", columns={"text1": first.split(",")[0]})
    assert dataset["text1"][:] == ["a"]
