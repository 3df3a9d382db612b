"""Part files of the cache: read back as written, refused after any change."""

from __future__ import annotations

import numpy as np

from flipkd.teachers.keys import text_key
from flipkd.teachers.part_file import parse_part, write_part

FINGERPRINT = "f" * 64


def test_parse_part_returns_what_write_part_wrote(tmp_path):
    keys, values = [text_key("a"), text_key("b")], np.array([[1, 2], [3, 4]], np.float32)
    name = write_part(tmp_path, keys, values, fingerprint=FINGERPRINT)
    content = (tmp_path / name).read_bytes()
    found = parse_part(name, content, fingerprint=FINGERPRINT)
    assert found is not None
    assert found[0] == keys
    np.testing.assert_array_equal(found[1], values)
    assert parse_part(name, content, fingerprint="e" * 64) is None
    assert parse_part(name, content[:-1] + b"\xff", fingerprint=FINGERPRINT) is None
