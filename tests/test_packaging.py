"""Wheel and sdist: what they hold, and a README without links that lead nowhere on PyPI."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import flipkd

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BACKEND = ("hatchling", "hatch_fancy_pypi_readme")
needs_backend = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in BACKEND), reason="needs hatchling: flipkd[dev]"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@needs_backend
def test_packaging_of_the_wheel_has_the_package_its_types_and_a_readme_for_pypi(built):
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = message_from_bytes(archive.read(f"flipkd-{flipkd.__version__}.dist-info/METADATA"))
    source = {path.relative_to(ROOT / "src").as_posix() for path in Path(flipkd.__file__).parent.rglob("*.py")}
    assert "flipkd/py.typed" in names
    assert source <= names
    assert {name.split("/")[0] for name in names} == {"flipkd", f"flipkd-{flipkd.__version__}.dist-info"}
    text = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert text.startswith("# flipkd")
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", text) == []
    assert "![" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "report.html: results" not in text  # the picture has no address that PyPI could load
    assert "docs/results.md has F1" in text
    assert metadata.get_all("Project-URL") is None  # no address is known; CONTRIBUTING.md says what a release adds
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["project"]["optional-dependencies"])


@needs_backend
def test_packaging_of_the_sdist_has_the_sources_and_no_leftovers(built):
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    top = {name.split("/")[0] for name in names}
    assert {"src", "tests", "docs", "README.md", "LICENSE", "Containerfile", "pyproject.toml"} <= top
    used = re.findall(r"--constraint (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert {"Makefile", *used} <= top
    assert {name for name in top if name.startswith(".")} <= {".gitignore"}
    assert not [name for name in names if re.search(r"__pycache__|\.pyc$|/\.|\.safetensors$", name)]


def test_repository_has_no_cache_of_a_tool():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git repository")
    hidden = {name.split("/")[0] for name in listed.stdout.splitlines() if name.startswith(".")}
    assert hidden <= {".gitignore", ".ci", ".github", ".gitlab-ci.yml"}
