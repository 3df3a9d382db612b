"""Lines: equal for every compression and encoding; damaged or too large files are refused."""

from __future__ import annotations

import codecs
import gzip

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.data import lines
from flipkd.data.pairs import read_pairs
from flipkd.errors import DataError, ResourceError

ROWS = "text1,text2,label\n" + "".join(f"left {i} é,right {i} 字,{i % 2}\n" for i in range(3000))


def zstd(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


def in_two_members(content: bytes) -> bytes:
    return gzip.compress(content[:999]) + gzip.compress(content[999:])


@pytest.fixture
def bytes_file(tmp_path):
    def write(content, name="pairs.csv"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["pairs.csv.gz", "PAIRS.CSV.GZ", "pairs.csv.zst", "pairs.csv"])
@pytest.mark.parametrize("pack", [gzip.compress, zstd, in_two_members])
def test_lines_of_compressed_files(bytes_file, name, pack, caplog):
    dataset = read_pairs(bytes_file(pack(ROWS.encode()), name))
    assert dataset["text1"][:] == [f"left {i} é" for i in range(3000)]
    right_name = {"gzip": ".gz", "zstd": ".zst"}[lines.compression_of(bytes_file(pack(b"x"), "x"))]
    assert bool(caplog.messages) == (not name.lower().endswith(right_name))


def test_lines_of_an_uncompressed_file_with_a_compressed_name_are_read(bytes_file, caplog):
    path = bytes_file(ROWS.encode(), "pairs.csv.gz")
    assert len(read_pairs(path)) == 3000
    assert caplog.messages == [f"{path}: is not compressed, although its name says otherwise"]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("cut", [9, 60, -500, -3])
def test_lines_of_a_truncated_compressed_file_are_refused(bytes_file, pack, cut):
    with pytest.raises(DataError, match="the compressed data is damaged or incomplete"):
        read_pairs(bytes_file(pack(ROWS.encode())[:cut]))


def test_lines_of_gzip_with_a_changed_byte_fail_its_checksum(bytes_file):
    whole = gzip.compress(ROWS.encode())
    for place in range(20, len(whole), len(whole) // 9):
        with pytest.raises(DataError):
            read_pairs(bytes_file(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]))


@pytest.mark.scenario("A10")
@pytest.mark.parametrize("pack", [gzip.compress, zstd, lambda content: content.decode().encode("utf-16")])
def test_decode_limit_of_compressed_files(bytes_file, pack, monkeypatch):
    monkeypatch.setattr(lines, "DECODE_LIMIT", 50_000)
    with pytest.raises(ResourceError, match="decompresses to more than 50,000 bytes"):
        read_pairs(bytes_file(pack(ROWS.encode())))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_utf16_and_utf32_with_byte_order_mark(bytes_file, encoding, pack, end):
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}
    content = mark.get(encoding, b"") + ROWS.replace("\n", end).encode(encoding)
    dataset = read_pairs(bytes_file(pack(content)))
    assert dataset["text2"][:] == [f"right {i} 字" for i in range(3000)]


def test_utf16_json_lines_and_tsv_are_read(bytes_file):
    path = bytes_file('{"text1": "a\u2028b", "text2": "\u0a0d"}\n'.encode("utf-16"), "p.jsonl")
    assert read_pairs(path).to_dict() == {"text1": ["a\u2028b"], "text2": ["\u0a0d"]}
    path = bytes_file("text1\ttext2\na\tb\n".encode("utf-16"), "unicode text of excel.csv")
    assert read_pairs(path).to_dict() == {"text1": ["a"], "text2": ["b"]}


@pytest.mark.parametrize("tail", [b"\x00", b"\x00\xd8\x00\xd8"])
def test_truncated_utf16_is_refused_with_its_line(bytes_file, tail):
    with pytest.raises(
        DataError, match=r"\(line \d\): the byte order mark is that of UTF-16, but the text is not UTF-16"
    ):
        read_pairs(bytes_file("text1,text2\na,b\nc,d\n".encode("utf-16") + tail))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=9), max_size=6))
def test_lines_are_equal_for_every_encoding_and_compression(tmp_path_factory, texts):
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    content = "x" + "\n".join(texts)
    for encoded in (
        content.encode("utf-8-sig"),
        content.encode("utf-16"),
        content.encode("utf-32"),
        gzip.compress(content.encode()),
    ):
        path.write_bytes(encoded)
        assert "".join(lines.Lines(path)) == content
        assert list(lines.Lines(path)) == content.splitlines(keepends=True) or any(
            mark in content for mark in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
        )
