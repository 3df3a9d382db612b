"""Forked commands behave as processes of their own, and find what they import imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from forked import Forked, run

CHILD = """
import json, os, subprocess, sys
if sys.argv[1:] == ["again"]:
    done = subprocess.run([sys.executable, __file__, "last"], env=os.environ | {"DEPTH": "2"}, stdout=subprocess.PIPE)
    sys.stdout.write(done.stdout.decode())
    sys.exit(3)
about = {"torch": "torch" in sys.modules, "words": sys.argv[1:], "depth": os.environ["DEPTH"], "folder": os.getcwd()}
print(json.dumps(about | {"session": os.getsid(0) == os.getpid(), "name": __name__}))
print("said", file=sys.stderr)
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def child(tmp_path) -> str:
    path = tmp_path / "child.py"
    path.write_text(CHILD)
    return str(path)


def test_run_returns_output_and_exit_code_and_the_command_starts_others(child):
    done = run(child, "again", DEPTH="1")
    assert (done.returncode, done.stderr) == (3, "said\n")
    about = json.loads(done.stdout)
    assert (about["words"], about["depth"], about["folder"]) == (["last"], "2", os.getcwd())
    assert about["torch"], "a module of preloaded.py cannot be imported"
    assert about["name"] == "__main__"
    assert not about["session"]


def test_forked_is_killed_in_a_session_of_its_own(child, tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"DEPTH": "1"}
    with Forked([sys.executable, child], cwd=tmp_path, env=environment, start_new_session=True, **pipes) as process:
        about = json.loads(process.stdout.readline())
        assert (about["folder"], about["session"], process.poll()) == (str(tmp_path), True, None)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL


def test_forked_starts_other_commands_as_popen_does():
    with Forked(["sh", "-c", "echo one; exit 4"], stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate() == ("one\n", None)
    assert process.returncode == 4
