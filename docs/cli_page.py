"""Write docs/cli.md from the command line's own help: `python docs/cli_page.py`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import typer
from typer import rich_utils

from flipkd.cli import app

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 110
HEAD = """# Command line

Made by `python docs/cli_page.py` from `flipkd VERB --help`; do not edit. Each setting of a command is an option of that
name. Precedence: defaults, then the YAML file of `--config`, then the options.

```sh
flipkd train --config train.yaml --lora_r 64 --learning_rate 1e-4 --load_in_4bit
flipkd train --config train.yaml --readout_layers -1,3 --lora_target_modules q_proj --lora_target_modules v_proj
flipkd train --config train.yaml --columns text1=title --objectives.in_batch_kl 0.5 --objectives.margin_hinge.margin 0.3
flipkd train --config train.yaml --objectives '{answer_cross_entropy: 1}' --filter_quantile null
flipkd compare --config compare.yaml --seeds 0,1,2 --train.lora_r 64 --teach.fine_tune true
```

- A flag has no value: `--load_in_4bit`, and `--no-load_in_4bit` when the file turns it on.
- A list is `A,B`, the option repeated, or a YAML list `'[A, B]'`.
- A mapping is `KEY=VALUE`, repeated, or with the key in the name, `--objectives.margin_hinge 0.5`: each sets one key and keeps
  the others. `'{KEY: VALUE}'` replaces the complete mapping.
- `--set KEY=VALUE` parses any value as YAML (`null`, `[a, b]`, `{a: 1}`); it overrides the option of the same name.

An error on the command line ends with exit code 2, an error in the YAML file with 4 ([errors.md](errors.md)).

Results go to stdout: in a terminal as tables of its width, which leave out the last columns where there is no space and name
them; into a pipe or a file as Markdown, and rows of `match` and `search` as JSON lines, which `--json` gives in a terminal
too. Everything else goes to stderr: a line while a model loads, bars in a terminal, a line every 30 seconds elsewhere, the
losses of a training in columns. `NO_COLOR=1` turns colours off, `COLUMNS=160` sets the width.

`--debug` and `--verbose` may be before or after the command. `flipkd --install-completion` completes commands, options and
choices in bash, zsh, fish and PowerShell.
"""


def page() -> str:
    """The whole page: help of flipkd itself and of every verb."""
    group = typer.main.get_command(app)
    return HEAD + "".join(
        f"\n## {name}\n\n```text\n{_help(name, command)}\n```\n" for name, command in _commands("flipkd", group)
    )


def _commands(name: str, command: typer.core.TyperCommand | typer.core.TyperGroup) -> Iterator[tuple[str, Any]]:
    """Yield a command and, of a group, all below it."""
    yield name, command
    if isinstance(command, typer.core.TyperGroup):
        for verb in command.list_commands(typer.Context(command)):
            yield from _commands(f"{name} {verb}", command.commands[verb])


def _help(name: str, command: typer.core.TyperCommand) -> str:
    out = io.StringIO()
    with mock.patch.multiple(rich_utils, MAX_WIDTH=WIDTH, FORCE_TERMINAL=False), contextlib.redirect_stdout(out):
        command.get_help(typer.Context(command, info_name=name, help_option_names=["-h", "--help"]))
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
