"""A cold start: what `import flipkd` and the command line load before there is work, and what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = [
    "torch",
    "transformers",
    "numpy",
    "datasets",
    "sklearn",
    "sentence_transformers",
    "pandas",
    "scipy",
]
PROBE = """
import json, logging, os, signal, sys
def state():
    handlers = [str(h) for h in logging.getLogger().handlers]
    return [dict(os.environ), handlers, str(signal.getsignal(signal.SIGINT)), str(signal.getsignal(signal.SIGTERM))]
before = state()
__import__(sys.argv[1])
print(json.dumps({"modules": sorted({m.split(".")[0] for m in sys.modules}), "unchanged": state() == before}))
"""


@pytest.fixture
def cold(tmp_path):
    """`cold(*arguments)` -> a finished Python in an empty home and folder, and the files that it has written there."""

    def run(*arguments: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
        keys = ("HOME", "XDG_CACHE_HOME", "HF_HOME", "TMPDIR", "TORCH_HOME")
        environment = {key: str(tmp_path) for key in keys} | {"PYTHONDONTWRITEBYTECODE": "1", "PATH": ""}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done, list(tmp_path.rglob("*"))

    return run


@pytest.mark.parametrize("module, heavy", [("flipkd", [*HEAVY, "pydantic"]), ("flipkd.cli", HEAVY)])
def test_imports_are_light_and_have_no_effect(cold, module, heavy):
    done, written = cold("-c", PROBE, module)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert set(told["modules"]) & set(heavy) == set()
    assert "flipkd" in told["modules"]
    assert told["unchanged"]
    assert written == []


def test_help_imports_nothing_heavy_and_lists_every_command(cold):
    code = "import sys, runpy; sys.argv = ['flipkd', '--help']; runpy.run_module('flipkd', run_name='__main__')"
    done, written = cold("-X", "importtime", "-c", code)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert {"flipkd", "typer"} <= loaded
    assert loaded & set(HEAVY) == set()
    for command in ("check", "split", "teach", "train", "evaluate", "match", "compare", "demo"):
        assert f" {command} " in done.stdout
    assert written == []


def test_main_module_of_flipkd_can_be_run(cold):
    done, written = cold("-m", "flipkd", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:2] == ["Usage:", "flipkd"]
    assert written == []
