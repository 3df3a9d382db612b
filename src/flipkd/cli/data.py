"""Subcommands that inspect and split pairs without a model: check, split."""

from __future__ import annotations

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import show
from flipkd.command_config import CheckConfig, SplitConfig


def check(config: CheckConfig, *, as_json: AsJson = False) -> None:
    """Check labelled pairs: balance, lengths, duplicates, leaks."""
    from flipkd.commands.check import check as run

    report = run(config)
    show(report.as_json() if as_json else report.text())
    report.require()


def split(config: SplitConfig) -> None:
    """Split pairs into train, validation and test sets.

    The sets share no text, or no text of one side.
    """
    from flipkd.commands.check import split as run

    for path, found in run(config).items():
        unlabelled = f", {found['unlabelled']} unlabelled" if found["unlabelled"] else ""
        show(f"{path}: {found['rows']} pairs ({found['positive']} match, {found['negative']} do not{unlabelled})")
