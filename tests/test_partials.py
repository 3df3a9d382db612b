"""Temporary files: those of killed processes are deleted, those of running processes are kept."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flipkd import partials
from flipkd.command_config import SplitConfig
from flipkd.commands.check import split
from flipkd.files import TEMPORARY, new_folder, write_bytes, write_text
from flipkd.partials import clear_stale, new_partial
from flipkd.run_lock import locked_run

CHILD = """
import os, signal, sys
from pathlib import Path
from flipkd.files import new_folder
from flipkd.partials import new_partial
with new_folder(sys.argv[1] + "/model") as folder:
    (folder / "half").write_text("x")
    new_partial(Path(sys.argv[1] + "/train.csv"), Path.touch)
    sys.stdout.write("here\\n")
    sys.stdout.flush()
    sys.stdin.readline()
"""


def temporary_in(folder: Path) -> list[str]:
    """Final names of the temporary files and folders in `folder`."""
    return sorted(path.name.split("-", 2)[2] for path in folder.glob(f"{TEMPORARY}*"))


@pytest.fixture
def child(tmp_path):
    """A process with an unfinished folder and an unfinished file."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "here\n"
    yield process
    process.kill()
    process.communicate()


def test_clear_stale_deletes_only_what_killed_processes_left(child, tmp_path):
    (tmp_path / f"{TEMPORARY}longword-mine").mkdir()
    clear_stale(tmp_path)
    with new_folder(tmp_path / "other"):
        pass
    assert temporary_in(tmp_path) == ["mine", "model", "train.csv"]
    child.kill()
    child.wait()
    with new_folder(tmp_path / "model"):
        assert temporary_in(tmp_path) == ["mine", "model"], "only its own"
    assert temporary_in(tmp_path) == ["mine"]


def test_split_and_locked_run_call_clear_stale(child, tmp_path):
    write_text(tmp_path / "pairs.csv", "text1,text2,label\n" + "".join(f"a{n},b{n},{n % 2}\n" for n in range(40)))
    child.kill()
    child.wait()
    split(SplitConfig.check({"pairs": str(tmp_path / "pairs.csv"), "output_dir": str(tmp_path)}))
    assert temporary_in(tmp_path) == []
    for name in ("run.json", "model"):
        (tmp_path / f"{TEMPORARY}0123abcd-{name}").touch()
    with locked_run(tmp_path, {}):
        assert temporary_in(tmp_path) == []


def test_clear_stale_never_deletes_what_other_threads_write(tmp_path):
    done, failed = threading.Event(), []

    def clear() -> None:
        while not done.is_set():
            clear_stale(tmp_path)

    def write(name: str) -> None:
        try:
            for number in range(40):
                write_bytes(tmp_path / name, b"%d" % number)
                with new_folder(tmp_path / f"{name}-folder", replace=True) as folder:
                    (folder / "a").touch()
        except Exception as error:
            failed.append(error)

    clearing = [threading.Thread(target=clear) for _ in range(2)]
    writing = [threading.Thread(target=write, args=(f"f{n}",)) for n in range(3)]
    for thread in clearing + writing:
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    for thread in clearing:
        thread.join()
    assert failed == []
    assert [(tmp_path / f"f{n}").read_bytes() for n in range(3)] == [b"39"] * 3
    assert temporary_in(tmp_path) == []


def test_clear_stale_deletes_nothing_without_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(partials.fcntl, "flock", flock)
    temporary, descriptor = new_partial(tmp_path / "file", Path.touch)
    os.close(descriptor)
    clear_stale(tmp_path)
    assert temporary.exists()
