"""Subcommands of `flipkd index`: build an index, change it, look at it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from flipkd.cli.options import AsJson, SettingsCommand, command
from flipkd.cli.terminal import compute, show, show_rows, stdout_to_stderr
from flipkd.command_config import (
    IndexAddConfig,
    IndexCompactConfig,
    IndexConfig,
    IndexDeleteConfig,
    IndexListConfig,
    IndexRollbackConfig,
    IndexVersionsConfig,
)


class BuildByDefault(TyperGroup):
    """Group in which `flipkd index FILE` is short for `flipkd index build FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; click calls this."""
        first = args[0] if args else ctx.help_option_names[0]
        misspelt = get_close_matches(first, self.commands, n=1, cutoff=0.75) and not Path(first).exists()
        if first in self.commands or first in ctx.help_option_names or misspelt:
            return super().parse_args(ctx, args or [first])
        return super().parse_args(ctx, ["build", *args])


app = typer.Typer(
    cls=BuildByDefault,
    help="Build an index for search, and change it.\n\nflipkd index FILE is short for flipkd index build FILE.",
)


def build(config: IndexConfig) -> None:
    """Embed texts and store the vectors for search."""
    from flipkd.commands.indexing import build as run

    made = compute(run, config)
    show(f"{config.output_dir}: {len(made)} texts, vectors of width {made.width}")


def add(config: IndexAddConfig) -> None:
    """Add the entries of a file; an entry whose id is there is replaced."""
    _write_entries(config, existing_only=False)


def update(config: IndexAddConfig) -> None:
    """Replace entries by those of a file; an unknown id is an error."""
    _write_entries(config, existing_only=True)


def _write_entries(config: IndexAddConfig, *, existing_only: bool) -> None:
    from flipkd.commands.indexing import add as run

    with stdout_to_stderr():
        change, embedded = run(config, existing_only=existing_only)
    show(
        f"{config.index}: version {change.version}, {change.added} added, {change.replaced} replaced, "
        f"{embedded} texts embedded"
    )


def delete(config: IndexDeleteConfig) -> None:
    """Delete entries by id or by a filter."""
    from flipkd.commands.indexing import delete as run

    change = compute(run, config)
    lost = len(set(config.ids)) - change.deleted
    missing = f"; not in the index: {lost} of the ids" if config.ids and lost else ""
    show(f"{config.index}: version {change.version}, {change.deleted} deleted{missing}")


def list_(config: IndexListConfig, *, as_json: AsJson = False) -> None:
    """Show entries, the oldest first."""
    from flipkd.commands.indexing import list_entries

    rows = compute(list_entries, config)
    show_rows(rows, as_json=as_json)


def versions(config: IndexVersionsConfig, *, as_json: AsJson = False) -> None:
    """Show the versions that are kept, the newest first."""
    from flipkd.commands.indexing import versions as run

    rows = compute(run, config)
    show_rows(rows, as_json=as_json)


def compact(config: IndexCompactConfig) -> None:
    """Merge small files, update the vector index, and delete old versions."""
    from flipkd.commands.indexing import compact as run

    change = compute(run, config)
    show(f"{config.index}: version {change.version}, compacted")


def rollback(config: IndexRollbackConfig) -> None:
    """Make an earlier version the newest version; nothing is lost."""
    from flipkd.commands.indexing import rollback as run

    change = compute(run, config)
    show(f"{config.index}: version {change.version}, with the entries of version {config.version}")


for subcommand in (build, add, update, delete, list_, versions, compact, rollback):
    app.command(subcommand.__name__.strip("_"), cls=SettingsCommand)(command(subcommand))
