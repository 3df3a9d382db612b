"""Contenders as processes that wait for their turn, and what the machine and its packages are."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

WORKER = Path(__file__).parent / "worker.py"
PACKAGES = ("flipkd", "torch", "transformers", "peft", "sentence-transformers", "trl", "llama-cpp-python")


class Failed(Exception):
    """A contender is missing, or its process ended."""


class Worker:
    """One contender's process, which begins to load at once; between its turns it waits for a line and costs no time."""

    def __init__(self, name: str, *, pairs: str, model: str) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), name, "--pairs", pairs, "--model", model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | {"OMP_NUM_THREADS": str(threads()), "TOKENIZERS_PARALLELISM": "false"},
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Return when it has loaded. Raises Failed when it cannot run here."""
        first = self._line()
        if "missing" in first:
            self.close()
            raise Failed(first["missing"])

    def repeat(self, count: int) -> dict[str, Any]:
        """One repetition of so many pairs. Raises Failed with the last words of a process that ended."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and its last words say why
            print(count, file=self.process.stdin, flush=True)
        return self._line()

    def _line(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            self.process.wait()
            self.errors.seek(0)
            words = self.errors.read().decode(errors="replace").strip().splitlines()
            self.close()
            raise Failed(f"its process ended with {self.process.returncode}: {words[-1] if words else 'no word'}")
        found: dict[str, Any] = json.loads(line)
        return found

    def dismiss(self) -> None:
        """Tell the process to end, and do not wait for it."""
        if self.process.stdin:
            self.process.stdin.close()

    def close(self) -> None:
        """End the process; once is enough."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        self.process.wait()
        self.errors.close()


def threads() -> int:
    """Threads of each contender: OMP_NUM_THREADS where it is set, else the physical cores, as torch does by itself."""
    import psutil  # type: ignore[import-untyped]

    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() else psutil.cpu_count(logical=False) or os.cpu_count() or 1


def about_this_run() -> dict[str, Any]:
    """Versions, the processor and its threads."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "processor": processor(), "threads": threads()}


def processor() -> str:
    """The processor's own name where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
