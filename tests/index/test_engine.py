"""What the engine of an index raises, filters that it plans, and folders whose files are not those of the manifest."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from lance_writer import COLUMNS, make

from flipkd.errors import ArtefactError, ConfigError, ResourceError, UsageError
from flipkd.files import write_manifest
from flipkd.index import engine, open_index
from flipkd.index.engine import MOST_SAID, checked_folder, engine_errors, planned_filter, said
from flipkd.index.writing import delete


class PanicException(BaseException):
    """Named as the class of a panic of Rust code that Python calls."""


@pytest.mark.parametrize(
    "error, expected, message",
    [
        (OSError(errno.ENOSPC, "No space left"), ResourceError, "the disk is full"),
        (RuntimeError("lance error: No space left on device (os error 28)"), ResourceError, "the disk is full"),
        (OSError("LanceError(IO): Permission denied (os error 13)"), ResourceError, "Permission denied"),
        (RuntimeError("Permission denied (os error 13)"), ResourceError, r"cannot be written \(Permission denied\)"),
        (RuntimeError("Read-only file system"), ResourceError, r"cannot be written \(Read-only file system\)"),
        (RuntimeError("lance error: lost, /a/b.rs:1:2"), ArtefactError, r"LanceDB cannot use this index \(lost\)"),
        (ValueError("not found"), ArtefactError, r"LanceDB cannot use this index \(not found\)"),
        (PanicException("index out of bounds"), ArtefactError, r"\(index out of bounds\).*restore it from a copy"),
    ],
)
def test_engine_errors_are_of_the_disk_or_of_the_index(tmp_path, error, expected, message):
    with pytest.raises(expected, match=message) as caught, engine_errors(tmp_path / "index"):
        raise error
    assert str(tmp_path / "index") in str(caught.value)


@pytest.mark.parametrize(
    "error", [UsageError("u"), KeyboardInterrupt(), SystemExit(1), GeneratorExit(), MemoryError(), BaseException("b")]
)
def test_engine_errors_leave_other_exceptions_as_they_are(tmp_path, error):
    with pytest.raises(type(error)) as caught, engine_errors(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "text, shown",
    [
        ("lance error: the column x is missing, /a/io.rs:12:9", "the column x is missing"),
        ("Invalid input, nothing fits.\n\tKnown: lower(String), /a/io.rs:23:88", "nothing fits. Known: lower(String)"),
        ("first\nlance error: second /a/b.rs:7\n third .", "first second third"),
        ("x" * (MOST_SAID + 1), "x" * MOST_SAID + "..."),
        ("x" * MOST_SAID, "x" * MOST_SAID),
    ],
)
def test_said_is_the_message_without_places_in_rust_code(text, shown):
    assert said(RuntimeError(text)) == shown


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return make(tmp_path_factory.mktemp("lance") / "index").table


def test_planned_filter_returns_the_checked_condition(table):
    assert planned_filter(table, "Batch = 3", ["id", "text", *COLUMNS]) == "`batch` = 3"


@pytest.mark.parametrize(
    "where, message",
    [
        ("batch = 'many'", "the filter cannot be used"),
        ("batch", "the filter cannot be used"),
        ("batch = 1; drop table entries", "character 10"),
        ("colour = 'red'", "no column"),
    ],
)
def test_planned_filter_refuses_what_the_engine_cannot_use(table, where, message):
    with pytest.raises(ConfigError, match=message):
        planned_filter(table, where, ["id", "text", *COLUMNS])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("files", ["data/*.lance", "_versions/*.manifest", "_deletions/*.arrow", "../index.json"])
@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_checked_folder_finds_a_damaged_or_lost_file_when_the_index_is_opened(tmp_path, files, damage):
    index = make(tmp_path / "index")
    delete(index, ids=["0-0"])
    damage(min((tmp_path / "index/entries.lance").glob(files)))  # the newest of the manifests of versions
    with pytest.raises(ArtefactError, match=r"mismatch|missing|not readable|no index\.json"):
        open_index(tmp_path / "index")


def test_checked_folder_reads_a_manifest_again_that_a_writer_has_changed(tmp_path, monkeypatch):
    """A writer takes a file off the manifest and deletes it, while the reader checks the files of the old manifest."""
    original, (kept, old) = engine.check_manifest, (tmp_path / "kept", tmp_path / "old")
    kept.write_text("k")
    old.write_text("o")
    write_manifest(tmp_path)
    calls = []

    def check(folder):
        calls.append(folder)
        if len(calls) == 1:
            old.unlink()
            with pytest.raises(ArtefactError) as error:
                original(folder)
            write_manifest(folder)
            raise error.value
        return original(folder)

    monkeypatch.setattr(engine, "check_manifest", check)
    checked_folder(tmp_path)
    assert len(calls) == 2
    kept.unlink()
    with pytest.raises(ArtefactError, match="kept"):
        checked_folder(tmp_path)
    assert len(calls) == 3, "the manifest has not changed"


def test_checked_folder_refuses_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(ArtefactError, match="manifest"):
        checked_folder(tmp_path)
