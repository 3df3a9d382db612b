"""A text file as lines: UTF-8, or UTF-16 and UTF-32 with their mark, compressed or not; every fault placed."""

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

LINE_LIMIT = (
    128 * 2**20
)  # bytes of one line (in UTF-16 and UTF-32 characters): room for three cells of the longest kind
DECODE_LIMIT = 4 * 2**30  # bytes of what a compressed file holds; a file of 49 KB can hold 20 TB of repeated text
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # first bytes -> compression
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
BROKEN = (EOFError, OSError, zlib.error, pa.ArrowException)  # what reading damaged compression raises
_LONE_RETURN = re.compile(r"(?<=\r)(?!\n)")


def compression_of(path: Path) -> str | None:
    """The compression that the first bytes of a file tell of."""
    with open(path, "rb") as file:
        start = file.read(4)
    return next((name for mark, name in PACKED.items() if start.startswith(mark)), None)


def open_decompressed(path: Path) -> io.BufferedReader:
    """The bytes that a file holds, behind its compression."""
    packed = compression_of(path)
    if packed == "gzip":
        return io.BufferedReader(gzip.open(path, "rb"))
    if packed == "zstd":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return open(path, "rb")


def first_bytes(path: Path, count: int = 1024) -> bytes:
    """The first bytes that a file holds. Raises DataError for damaged compression."""
    with open_decompressed(path) as file:
        try:
            return file.read(count)
        except BROKEN as error:
            raise _broken(path, error) from None


class Lines:
    """The lines of a text file, byte order mark dropped, line ends kept; knows where the current row began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row = 0
        self.start = 1
        self.number = 0
        self.seen: list[str] = []  # of the current row

    def place(self) -> str:
        """Where the current row began, as it is written in errors."""
        row = f"row {self.row}" if self.row else "header"
        return f"{self.path}: {row} (line {self.start})"

    def begin(self, row: int) -> None:
        """Count what comes as this row."""
        self.row, self.start, self.seen = row, self.number + 1, []

    def __iter__(self) -> Iterator[str]:
        packed = compression_of(self.path) is not None
        try:
            with open_decompressed(self.path) as handle, closing(self._parts(handle, packed)) as parts:
                for part in parts:
                    self.number += 1
                    self.seen.append(part)
                    yield part
        except ResourceError:
            raise
        except BROKEN as error:
            if not packed or getattr(error, "errno", None) is not None:
                raise
            raise _broken(self.path, error) from None

    def _parts(self, handle: io.BufferedReader, packed: bool) -> Generator[str]:
        mark = handle.peek(4)[:4]
        wide = next((name for start, name in _WIDE.items() if mark.startswith(start)), None)
        yield from self._wide(handle, wide) if wide else self._narrow(handle, packed)

    def _narrow(self, handle: BinaryIO, packed: bool) -> Iterator[str]:
        offset = 0
        while raw := handle.readline(LINE_LIMIT + 1):
            self._check_length(raw)
            # A lone carriage return ends a line too, as in files of old spreadsheets.
            yield from filter(None, _LONE_RETURN.split(self._decoded(raw, offset)))
            offset += len(raw)
            if packed:
                self._check_size(offset)

    def _wide(self, handle: io.BufferedReader, encoding: str) -> Iterator[str]:
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
                f"{self.place()}: its byte order mark says {encoding}, but what follows is none ({error}); save it as UTF-8"
            ) from None

    def _check_length(self, line: bytes | str) -> None:
        if len(line) > LINE_LIMIT:
            raise DataError(f"{self.place()}: the line is longer than {LINE_LIMIT:,} bytes; are its ends lost?")

    def _check_size(self, size: int) -> None:
        if size > DECODE_LIMIT:
            raise ResourceError(
                f"{self.path}: unpacks to more than {DECODE_LIMIT:,} bytes ({self.path.stat().st_size:,} on disk); "
                "cut it into smaller files, unless it comes from a stranger"
            )

    def _decoded(self, raw: bytes, offset: int) -> str:
        skipped = len(_BYTE_ORDER_MARK) if offset == 0 and raw.startswith(_BYTE_ORDER_MARK) else 0
        try:
            return raw[skipped:].decode("utf-8")
        except UnicodeDecodeError as error:
            byte = raw[skipped + error.start]
            place = f"byte offset {offset + skipped + error.start} (byte 0x{byte:02x})"
            raise DataError(
                f"{self.place()}: not UTF-8 at {place}: perhaps Windows-1252 or Latin-1, or GB18030 if it is Chinese; "
                "convert it first, for instance with iconv -f ENCODING -t UTF-8"
            ) from None


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: its compression is damaged or cut off ({shorten(str(error), 160)}); write or copy it anew"
    )
