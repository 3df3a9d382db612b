"""Fixtures of the data tests: files of pairs."""

import pytest


@pytest.fixture
def pairs_file(tmp_path):
    def write(content, name="pairs.csv"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return write
