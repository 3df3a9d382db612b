"""Resumable file: atomic result, resume after a stop, one writer only."""

import errno
import fcntl
import itertools
import json
import os
import subprocess
import sys

import faults
import pytest

from flipkd.commands.resumable_file import resumable_file
from flipkd.errors import ArtefactError, ResourceError

IDENTITY = {"pairs": "a"}


class Stop(Exception):
    pass


def write(path, blocks, *, identity=IDENTITY, stop_after=99):
    """Append the blocks that are not there yet; the numbers of those that were."""
    written = []
    with resumable_file(path, identity) as file:
        for number, block in enumerate(blocks):
            if number < file.rows:
                continue
            if len(written) == stop_after:
                raise Stop
            file.append(block, rows=1, notes={"last": number})
            written.append(number)
    return written


BLOCKS = ["one\n", "zwei: ü\n", "三\n", "four\n"]


@pytest.mark.parametrize("stop_after", range(4))
def test_resumable_file_resumes_to_the_same_content(tmp_path, stop_after):
    path = tmp_path / "o.txt"
    with pytest.raises(Stop):
        write(path, BLOCKS, stop_after=stop_after)
    assert not path.exists()
    assert write(path, BLOCKS) == list(range(stop_after, 4))
    assert path.read_text(encoding="utf-8") == "".join(BLOCKS)
    assert os.listdir(tmp_path) == ["o.txt"]


@pytest.mark.scenario("B2")
def test_resumable_file_truncates_unsynced_bytes(tmp_path):
    path = tmp_path / "o.txt"
    with pytest.raises(Stop):
        write(path, BLOCKS, stop_after=2)
    with open(tmp_path / ".o.txt.part", "ab") as part:
        part.write(b"half a line that is longer than all that comes after it")
    assert write(path, BLOCKS) == [2, 3]
    assert path.read_text(encoding="utf-8") == "".join(BLOCKS)


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """`fresh()` -> a new folder with an old result; every way to change the disk that `resumable_file` has may fail."""
    monkeypatch.setattr(faults, "CHANGES", (*faults.CHANGES, "write", "ftruncate"))
    numbers = itertools.count()

    def make():
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        (folder / "o.txt").write_text("old")
        return folder

    return make


@pytest.mark.slow
@pytest.mark.scenario("B2")
def test_resumable_file_survives_a_kill_at_any_point(fresh):
    went_on = set()
    for folder in faults.each_kill(fresh, lambda folder: write(folder / "o.txt", BLOCKS)):
        found = (folder / "o.txt").read_text(encoding="utf-8")
        assert found in ("old", "".join(BLOCKS))
        went_on.add(tuple(write(folder / "o.txt", BLOCKS)))
        assert (folder / "o.txt").read_text(encoding="utf-8") == "".join(BLOCKS)
    assert went_on == {tuple(range(start, 4)) for start in range(5)}


@pytest.mark.scenario("B5")
def test_resumable_file_keeps_old_file_and_part_on_a_full_disk(fresh):
    for folder, error in faults.each_error(fresh, lambda folder: write(folder / "o.txt", BLOCKS), code=errno.ENOSPC):
        found = (folder / "o.txt").read_text(encoding="utf-8")
        if error is None:  # pathlib overlooks why a folder that exists cannot be made
            assert found == "".join(BLOCKS)
            continue
        assert isinstance(error, ResourceError)
        assert f"{folder}/" in str(error)
        assert "the disk is full" in str(error)
        assert found == "old"
        write(folder / "o.txt", BLOCKS)
        assert (folder / "o.txt").read_text(encoding="utf-8") == "".join(BLOCKS)


@pytest.mark.parametrize(
    "fault", ["other identity", "shorter than it says", "a changed byte", "no state", "odd state", "half a state"]
)
def test_resumable_file_restarts_from_an_unusable_part(tmp_path, fault):
    path, state = tmp_path / "o.txt", tmp_path / ".o.txt.part.json"
    with pytest.raises(Stop):
        write(path, BLOCKS, stop_after=2, identity={"pairs": "b"} if fault == "other identity" else IDENTITY)
    if fault == "shorter than it says":
        (tmp_path / ".o.txt.part").write_bytes(b"o")
    if fault == "a changed byte":
        part = bytearray((tmp_path / ".o.txt.part").read_bytes())
        part[1] ^= 1
        (tmp_path / ".o.txt.part").write_bytes(bytes(part))
    if fault == "no state":
        state.unlink()
    if fault == "half a state":
        state.write_text(json.dumps({"identity": IDENTITY, "bytes": 2}))
    if fault == "odd state":
        state.write_text(json.dumps([1]))
    assert write(path, BLOCKS) == [0, 1, 2, 3]
    assert path.read_text(encoding="utf-8") == "".join(BLOCKS)


@pytest.mark.scenario("B5")
def test_resumable_file_keeps_the_old_file_until_complete(tmp_path):
    path = tmp_path / "o.txt"
    path.write_text("old")
    with pytest.raises(Stop):
        write(path, BLOCKS, stop_after=3)
    assert path.read_text() == "old"
    write(path, BLOCKS)
    assert path.read_text(encoding="utf-8") == "".join(BLOCKS)


def test_resumable_file_rejects_a_second_writer(tmp_path):
    path = tmp_path / "o.txt"
    code = f"from flipkd.commands.resumable_file import resumable_file\nwith resumable_file({str(path)!r}, {{}}): pass"
    with resumable_file(path, IDENTITY):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process is writing this file" in done.stderr


def test_resumable_file_rejects_a_part_finished_before_the_lock(tmp_path, monkeypatch):
    path, lock = tmp_path / "o.txt", fcntl.flock

    def late(descriptor, how):
        monkeypatch.undo()
        write(path, BLOCKS)  # another process ends in this moment
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ArtefactError, match="another process"):
        write(path, ["mine\n"], identity={"pairs": "b"})
    assert path.read_text(encoding="utf-8") == "".join(BLOCKS)


def test_resumable_file_does_not_follow_a_link(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".o.txt.part").symlink_to(tmp_path / "victim")
    with pytest.raises(ResourceError):
        write(tmp_path / "o.txt", BLOCKS)
    assert (tmp_path / "victim").read_text() == "precious"


def test_resumable_file_removes_an_empty_part(tmp_path):
    with pytest.raises(Stop):
        write(tmp_path / "o.txt", BLOCKS, stop_after=0)
    assert os.listdir(tmp_path) == []


def test_resumable_file_names_the_result_on_a_disk_error(tmp_path, monkeypatch):
    path = tmp_path / "o.txt"
    with pytest.raises(ResourceError, match=r"/o\.txt"), resumable_file(path, IDENTITY) as file:
        monkeypatch.setattr(
            os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
        )
        file.append("x", rows=1, notes={})


def test_resumable_file_names_an_unwritable_path(tmp_path):
    with pytest.raises(ResourceError, match="nowhere"), resumable_file(tmp_path / "nowhere" / "o.txt", IDENTITY):
        pass
    with pytest.raises(ArtefactError), resumable_file(tmp_path / "o.txt", IDENTITY):
        raise ArtefactError("from inside, as it is")
