"""flipkd_export.json: written and read back; a damaged or foreign one is refused by file and field."""

from __future__ import annotations

import pytest
from tiny_matchers import exported

from flipkd.errors import ArtefactError
from flipkd.exports.record import RECORD, installed_libraries, read_record
from flipkd.files import read_json, write_json, write_manifest


def test_read_record_refuses_what_is_no_record(tiny_matcher, tmp_path):
    out = tmp_path / "out"
    exported(tiny_matcher(), out, "merged")
    values = read_json(out / RECORD)
    assert read_record(out).model_dump(mode="json") == values
    for change, match in (
        ({"dtype": 3}, "dtype must be"),
        ({"record": 2}, "record must be 1"),
        ({"contract": {}}, "contract."),
    ):
        write_json(out / RECORD, values | change)
        with pytest.raises(ArtefactError, match="sha256 mismatch"):
            read_record(out)
        write_manifest(out)
        with pytest.raises(ArtefactError, match=f"{RECORD}: {match}"):
            read_record(out)
    (out / RECORD).unlink()
    with pytest.raises(ArtefactError, match=r"holds no flipkd_export\.json"):
        read_record(out)
    with pytest.raises(ArtefactError, match="no such folder"):
        read_record(tmp_path / "nowhere")


def test_installed_libraries_are_those_that_are_installed(monkeypatch):
    from flipkd.exports import record

    monkeypatch.setattr(record, "LIBRARIES", ("torch", "no-such-package"))
    assert list(installed_libraries()) == ["torch"]
