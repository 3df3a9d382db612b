"""Subcommands of the review queue: export, import, list, stats, pairs."""

from __future__ import annotations

import typer

from flipkd.cli.options import AsJson, SettingsCommand, command
from flipkd.cli.terminal import compute, show, show_result, show_rows
from flipkd.command_config import (
    ReviewExportConfig,
    ReviewImportConfig,
    ReviewListConfig,
    ReviewPairsConfig,
    ReviewStatsConfig,
)

app = typer.Typer(help="Label the pairs of a review queue, and use the labels.")


def export(config: ReviewExportConfig) -> None:
    """Write pairs to label for Label Studio, Argilla or a spreadsheet."""
    from flipkd.commands.review import export_pairs

    done = compute(export_pairs, config)
    more = f"; labelling configuration: {done['configuration']}" if "configuration" in done else ""
    show(f"{done['output']}: {done['pairs']} pairs{more}")


def import_(config: ReviewImportConfig) -> None:
    """Read labels from a file of Label Studio, Argilla or a spreadsheet.

    A second import of the same file changes nothing.
    """
    from flipkd.commands.review import import_votes

    counts = import_votes(config)
    unknown = f", {counts['unknown']} of pairs that the queue does not have" if counts["unknown"] else ""
    show(f"{config.file}: {counts['new']} new labels, {counts['changed']} changed, {counts['equal']} known{unknown}")


def list_(config: ReviewListConfig, *, as_json: AsJson = False) -> None:
    """List pairs of the queue, the most doubtful ones first."""
    from flipkd.commands.review import list_pairs

    show_rows(list_pairs(config), as_json=as_json)


def stats(config: ReviewStatsConfig, *, as_json: AsJson = False) -> None:
    """Count labels, compare annotators and estimate the share of matches."""
    from flipkd.commands.review import queue_stats, stats_text

    found = queue_stats(config)
    show_result(found, stats_text(found), as_json=as_json)


def pairs(config: ReviewPairsConfig) -> None:
    """Write the labelled pairs as a file for train, calibrate and evaluate."""
    from flipkd.commands.review import write_labelled

    counts = write_labelled(config)
    undecided = f"; {counts['undecided']} undecided pairs are left out" if counts["undecided"] else ""
    show(f"{config.output}: {counts['pairs']} pairs, {counts['matches']} match{undecided}")


for name, subcommand in (("export", export), ("import", import_), ("list", list_), ("stats", stats), ("pairs", pairs)):
    app.command(name, cls=SettingsCommand)(command(subcommand))
