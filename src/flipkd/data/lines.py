"""Lines of a text file: UTF-8, or UTF-16 and UTF-32 with a byte order mark, compressed or not; errors give the line."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from flipkd.errors import DataError, ResourceError, shorten

LINE_LIMIT = 128 * 2**20  # bytes of one line (characters in UTF-16 and UTF-32); three cells of maximal length fit
DECODE_LIMIT = 4 * 2**30  # bytes after decompression; a file of 49 KB can decompress to 20 TB of repeated text
START = 1024  # bytes at the start of a file that show its format
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # first bytes -> compression
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, because its mark starts with the mark of UTF-16
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
BROKEN = (EOFError, OSError, zlib.error, pa.ArrowException)  # exceptions of reading damaged compressed data
_LONE_RETURN = re.compile(r"(?<=\r)(?!\n)")


def compression_of(path: Path) -> str | None:
    """Detect the compression of a file by its first bytes; None if it is not compressed."""
    with open(path, "rb") as file:
        start = file.read(4)
    return next((name for mark, name in COMPRESSIONS.items() if start.startswith(mark)), None)


def open_decompressed(path: Path) -> io.BufferedReader:
    """Open a file and decompress it if it is compressed."""
    compression = compression_of(path)
    if compression == "gzip":
        return io.BufferedReader(gzip.open(path, "rb"))
    if compression == "zstd":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return open(path, "rb")


def first_bytes(path: Path) -> bytes:
    """Read the first START bytes of a file, decompressed. Raises DataError if the compressed data is damaged."""
    with open_decompressed(path) as file:
        try:
            return file.read(START)
        except BROKEN as error:
            raise _broken(path, error) from None


class Lines:
    """Iterator over the lines of a text file, without byte order mark, with line ends; tracks the start of the current row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row = 0
        self.start = 1
        self.number = 0
        self.row_lines: list[str] = []  # lines of the current row

    def location(self) -> str:
        """Location of the start of the current row, for errors."""
        row = f"row {self.row}" if self.row else "header"
        return f"{self.path}: {row} (line {self.start})"

    def begin(self, row: int) -> None:
        """Start a row: the next lines are part of it."""
        self.row, self.start, self.row_lines = row, self.number + 1, []

    def __iter__(self) -> Iterator[str]:
        compressed = compression_of(self.path) is not None
        try:
            with open_decompressed(self.path) as handle, closing(self._lines(handle, compressed)) as lines:
                for line in lines:
                    self.number += 1
                    self.row_lines.append(line)
                    yield line
        except ResourceError:
            raise
        except BROKEN as error:
            if not compressed or getattr(error, "errno", None) is not None:
                raise
            raise _broken(self.path, error) from None

    def _lines(self, handle: io.BufferedReader, compressed: bool) -> Generator[str]:
        mark = handle.peek(4)[:4]
        wide = next((name for start, name in _WIDE.items() if mark.startswith(start)), None)
        yield from self._decode_wide(handle, wide) if wide else self._decode_utf8(handle, compressed)

    def _decode_utf8(self, handle: BinaryIO, compressed: bool) -> Iterator[str]:
        offset = 0
        while raw := handle.readline(LINE_LIMIT + 1):
            self._check_length(raw)
            # A lone carriage return also ends a line, as in files of old spreadsheets.
            yield from filter(None, _LONE_RETURN.split(self._decoded(raw, offset)))
            offset += len(raw)
            if compressed:
                self._check_size(offset)

    def _decode_wide(self, handle: io.BufferedReader, encoding: str) -> Iterator[str]:
        characters = 0
        try:
            with io.TextIOWrapper(handle, encoding, newline="") as text:
                while part := text.readline(LINE_LIMIT + 1):
                    self._check_length(part)
                    yield part
                    characters += len(part)
                    self._check_size(characters)
        except UnicodeError as error:
            raise DataError(
                f"{self.location()}: the byte order mark is that of {encoding}, but the text is not {encoding} ({error}); "
                "save the file as UTF-8"
            ) from None

    def _check_length(self, line: bytes | str) -> None:
        if len(line) > LINE_LIMIT:
            raise DataError(f"{self.location()}: the line is longer than {LINE_LIMIT:,} bytes; are line ends missing?")

    def _check_size(self, size: int) -> None:
        if size > DECODE_LIMIT:
            raise ResourceError(
                f"{self.path}: decompresses to more than {DECODE_LIMIT:,} bytes ({self.path.stat().st_size:,} on disk); "
                "split it into smaller files if you trust its source"
            )

    def _decoded(self, raw: bytes, offset: int) -> str:
        skipped = len(_BYTE_ORDER_MARK) if offset == 0 and raw.startswith(_BYTE_ORDER_MARK) else 0
        try:
            return raw[skipped:].decode("utf-8")
        except UnicodeDecodeError as error:
            byte = raw[skipped + error.start]
            position = f"byte offset {offset + skipped + error.start} (byte 0x{byte:02x})"
            raise DataError(
                f"{self.location()}: not UTF-8 at {position}: perhaps Windows-1252 or Latin-1, or GB18030 if it is Chinese; "
                "save it again as UTF-8 (in Excel: File, Save as, CSV UTF-8), or convert it, for example with "
                "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE"
            ) from None


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: the compressed data is damaged or incomplete ({shorten(str(error), 160)}); write or copy it again"
    )
