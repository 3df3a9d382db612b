"""A child process in which some installed packages cannot be found, as if an extra were not installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any


class Hidden:
    """A finder of `sys.meta_path` that finds what the one inside it finds, except the hidden packages."""

    def __init__(self, finder: Any, packages: Collection[str]) -> None:
        self.finder, self.packages = finder, packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of a module, None for a module of a hidden package."""
        return None if name.partition(".")[0] in self.packages else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def hide(packages: Collection[str]) -> None:
    """Hide packages from this process, which must not have imported them yet."""
    sys.meta_path[:] = [Hidden(finder, packages) for finder in sys.meta_path]


CHILD = """
import contextlib, io, json, sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("hidden_packages", sys.argv[1])
module = module_from_spec(spec)
spec.loader.exec_module(module)
packages, commands = json.loads(sys.argv[2])
module.hide(packages)
from flipkd.cli import main
results = []
for words in commands:
    sys.argv, out, err, code = ["flipkd", *words], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    results.append([code, out.getvalue(), err.getvalue()])
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {*packages})
print(json.dumps([results, loaded]))
"""


def run_without(
    packages: Collection[str], commands: Sequence[Sequence[Any]], folder: Path
) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each `flipkd` command, all run in `folder` in one process without the packages."""
    assert all(importlib.util.find_spec(package) for package in packages), "only an installed package can be hidden"
    given = json.dumps([sorted(packages), [[str(word) for word in words] for words in commands]])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, __file__, given], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results, loaded = json.loads(done.stdout)
    assert loaded == []
    return [tuple(result) for result in results]
