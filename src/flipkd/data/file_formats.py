"""Recognition of unsupported file formats by their first bytes, whatever the file name."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from flipkd.data.lines import COMPRESSIONS
from flipkd.errors import DataError

PARQUET = b"PAR1"
_SPREADSHEET = "save the sheet as csv (in Excel: File, Save as, CSV UTF-8) or as Parquet"
_PICKLE = "a Python pickle, which is refused because loading it runs code; write the pairs as csv or Parquet"
_UNPACK = "unpack it and use the file inside"
_KINDS = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": f"an old Excel workbook (.xls) or another Office file; {_SPREADSHEET}",
    b"ARROW1": "an Arrow or Feather file; write it as Parquet",
    b"SQLite format 3\0": "an SQLite database; write the pairs as csv",
    b"\x89HDF": "an HDF5 file; write the pairs as csv or Parquet",
    b"\x93NUMPY": "a NumPy file; write the pairs as csv or Parquet",
    b"%PDF": "a PDF; write the pairs as csv",
    b"{\\rtf": "a Rich Text file; save it as plain text",
    b"BZh": f"compressed with bzip2; {_UNPACK}",
    b"\xfd7zXZ\0": f"compressed with xz; {_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"a 7-Zip archive; {_UNPACK}",
    b"Rar!\x1a\x07": f"a RAR archive; {_UNPACK}",
    **dict.fromkeys(COMPRESSIONS, "compressed twice; decompress it once"),
    b"\x1f\x9d": f"compressed with compress (.Z); {_UNPACK}",
    b"\x5d\0\0": f"compressed with lzma; {_UNPACK}",
    b"\x04\x22\x4d\x18": f"compressed with lz4; {_UNPACK}",
    b"\xff\x06\0\0sNaPpY": f"compressed with snappy; {_UNPACK}",
    b"Obj\x01": "an Avro file; write it as Parquet",
    b"\xff\xff\xff\xff": "an Arrow stream; write it as Parquet",
    b"X\n\0\0\0": "a file of R (.rds); write the pairs as csv",
    b"RDX": "a file of R (.RData); write the pairs as csv",
    b"<stata_dta>": "a file of Stata (.dta); write the pairs as csv",
    b"$FL2@(#)": "a file of SPSS (.sav); write the pairs as csv",
    b"\x89PNG": "an image; write the pairs as csv",
    b"\xff\xd8\xff": "an image; write the pairs as csv",
    **dict.fromkeys((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), _PICKLE),
    b"version https://git-lfs.github.com/": "a Git LFS pointer, not the data; get the data with git lfs pull",
}
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!doctype", b"<script", b"<table", b"<body")
_JSON = re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*\"")


def refuse_other_format(path: Path, start: bytes) -> None:
    """Raise DataError with the format of a file that is neither text nor Parquet; `start`: its first decompressed bytes."""
    found = next((kind for mark, kind in _KINDS.items() if start.startswith(mark)), None)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        found = _in_zip(path)
    elif start.startswith(b"ORC") and b"\0" in start:
        found = "an ORC file; write it as Parquet"
    elif start[257:262] == b"ustar":
        found = f"a tar archive; {_UNPACK}"
    elif start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        found = "a web page or XML, not the data (perhaps a login page); download the file itself"
    if found:
        raise DataError(f"{path}: is {found}")


def is_json(start: bytes) -> bool:
    """True when a file begins with a JSON object, or a list of them; `start`: its first decompressed bytes."""
    return _JSON.match(start) is not None


def _in_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        names = []
    if any(name.startswith("xl/") for name in names):
        return f"an Excel workbook (.xlsx); {_SPREADSHEET}"
    if any(name in ("content.xml", "Index/Document.iwa") for name in names):
        return f"a spreadsheet of LibreOffice or Numbers; {_SPREADSHEET}"
    return f"a zip archive; {_UNPACK}"
