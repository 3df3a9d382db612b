"""Write docs/cli.md from the command line's own help: `python docs/cli_page.py`."""

from __future__ import annotations

from pathlib import Path

import typer

from flipkd.cli import app

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 110
HEAD = """# Command line

Made by `python docs/cli_page.py` from `flipkd VERB --help`; do not edit. Settings of `teach`, `train` and `compare` come
from defaults, then the YAML file, then the command line. `--debug` and `--verbose` may stand before or behind the verb.
"""


def page() -> str:
    """The whole page: help of flipkd itself and of every verb."""
    group = typer.main.get_command(app)
    commands = {"flipkd": group} | {f"flipkd {verb}": command for verb, command in group.commands.items()}
    return HEAD + "".join(
        f"\n## {name}\n\n```text\n{_help(name, command)}\n```\n" for name, command in commands.items()
    )


def _help(name: str, command: typer.core.TyperCommand) -> str:
    context = typer.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
