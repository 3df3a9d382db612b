"""Files of installed packages: found without import; missing or changed files are refused."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

from flipkd.errors import ArtefactError, ConfigError
from flipkd.models.installed import check_sha256, package_file, package_folder


def test_package_file_is_found_without_import(install):
    folder = install("carrier_of_weights", {"data/model.bin": b"weights"})
    assert package_folder("carrier_of_weights") == folder
    assert package_file("carrier_of_weights", "data/model.bin").read_bytes() == b"weights"
    assert "carrier_of_weights" not in sys.modules


def test_package_folder_names_a_missing_package():
    with pytest.raises(ConfigError, match=re.escape('no_such_package is not installed: pip install "flipkd[demo]"')):
        package_folder("no_such_package")


def test_package_file_names_a_missing_file(install):
    install("carrier_of_weights", {})
    with pytest.raises(ArtefactError, match=r"model\.bin: missing although carrier_of_weights is installed"):
        package_file("carrier_of_weights", "model.bin")


def test_check_sha256(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"weights")
    check_sha256(file, hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(ArtefactError, match="expected 00"):
        check_sha256(file, "00" * 32)
    with pytest.raises(ArtefactError, match=r"pip install --force-reinstall --no-deps pytest==\d"):
        check_sha256(Path(pytest.__file__), "00" * 32)
