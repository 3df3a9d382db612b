"""flipkd as a user calls it, but in this process: a process of its own would cost eight seconds of imports."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import sys
import warnings
from dataclasses import dataclass
from typing import Any
from unittest import mock


@dataclass(frozen=True)
class Done:
    """What a command left behind: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@functools.cache
def parser() -> Any:
    """The parser of the command line, which is the same for each call and takes 30 ms to build."""
    import typer

    from flipkd.cli import app

    return typer.main.get_command(app)


def flipkd(*words: Any) -> Done:
    """Run `flipkd WORDS`; what it sets for its process (environment, logging, warnings, signals) is put back."""
    from flipkd.cli import main

    built, root, out, err, code = parser(), logging.getLogger(), io.StringIO(), io.StringIO(), 0
    handlers, level = root.handlers, root.level
    root.handlers = []  # pytest's own would keep logging.basicConfig from doing anything
    with (
        mock.patch.object(sys, "argv", ["flipkd", *map(str, words)]),
        mock.patch("typer.main.get_command", return_value=built),
        mock.patch.dict(os.environ),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            logging.captureWarnings(False)
            root.handlers = handlers
            root.setLevel(level)
    return Done(code, out.getvalue(), err.getvalue())


def given(pair_files: dict[str, str]) -> list[str]:
    """The options that name training and validation pairs."""
    return ["--train_file", pair_files["train"], "--validation_file", pair_files["validation"]]


def student(base: Any, **changes: Any) -> list[str]:
    """The options of a small and quick student over the model folder `base`; changes are further settings."""
    settings = {"dtype": "float32", "max_text_length": 16, "lora_r": 4, "readout_r": 8, "learning_rate": 0.01}
    words = ["--model_name_or_path", str(base)]
    for key, value in (settings | changes).items():
        words += ["--set", f"{key}={value}"]
    return words


def subcommands() -> dict[str, Any]:
    """Every subcommand of flipkd by its name; one of a group has both names, as "index add"."""
    found: dict[str, Any] = {}
    for name, command in parser().commands.items():
        below = getattr(command, "commands", None)
        found |= {name: command} if below is None else {f"{name} {verb}": each for verb, each in below.items()}
    return found
