"""AppendedFile: complete lines, rotation by size, several processes."""

import subprocess
import sys

import pytest

from flipkd.serve.appended_file import LAST_BLOCK, AppendedFile

WRITER = """
import sys
from pathlib import Path
from flipkd.serve.appended_file import AppendedFile
file = AppendedFile(Path(sys.argv[1]), most_bytes=4_000, most_files=100)
print("ready", flush=True)
for number in range(10**9 if sys.argv[3] == "endless" else 200):
    file.append(f"{sys.argv[2]} {number} {'x' * 50}\\n".encode())
"""


def numbered(path):
    return [int(line.split()[1]) for line in path.read_text().splitlines()]


def test_old_files_are_numbered_and_the_oldest_go(tmp_path):
    file = AppendedFile(tmp_path / "log", most_bytes=100, most_files=2)
    for number in range(10):
        file.append(f"a {number} {'x' * 40}\n".encode())
    assert numbered(tmp_path / "log") == [8, 9]
    assert numbered(tmp_path / "log.1") == [6, 7]
    assert numbered(tmp_path / "log.2") == [4, 5]
    assert not (tmp_path / "log.3").exists()


@pytest.mark.parametrize("tail", [b"half", b"x" * (3 * LAST_BLOCK)])
@pytest.mark.parametrize("before", [b"", b"one\n", b"one\ntwo\n"])
def test_appended_file_cuts_off_an_incomplete_line(tmp_path, before, tail):
    (tmp_path / "log").write_bytes(before + tail)
    AppendedFile(tmp_path / "log", most_bytes=10**9, most_files=1).append(b"next\n")
    assert (tmp_path / "log").read_bytes() == before + b"next\n"


def test_appended_file_is_shared_by_processes_and_has_complete_lines_after_a_kill(tmp_path):
    words = [sys.executable, "-c", WRITER, str(tmp_path / "log")]
    endless = subprocess.Popen([*words, "killed", "endless"], stdout=subprocess.PIPE, text=True)
    others = [subprocess.Popen([*words, name, "some"], stdout=subprocess.PIPE, text=True) for name in "ab"]
    for process in (endless, *others):
        assert process.stdout.readline() == "ready\n"
    others[0].wait(60)
    endless.kill()
    endless.wait()
    assert [process.wait(60) for process in others] == [0, 0]
    for process in (endless, *others):
        process.stdout.close()
    AppendedFile(tmp_path / "log", most_bytes=4_000, most_files=100).append(b"end 0 x\n")
    files = sorted(tmp_path.glob("log*"), key=lambda path: -int(path.suffix[1:] or 0))
    lines = [line.split() for path in files for line in path.read_text().splitlines()]
    for name in "ab":
        own = [int(number) for who, number, _ in lines if who == name]
        assert own == sorted(own)
    assert {len(line) for line in lines} == {3}
