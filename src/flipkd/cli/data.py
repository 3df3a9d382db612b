"""The commands that look at pairs before any model does: check, split."""

from __future__ import annotations

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import show
from flipkd.command_config import CheckConfig, SplitConfig


def check(config: CheckConfig, *, as_json: AsJson = False) -> None:
    """Look at pairs before training: balance, lengths, repeats, leaks."""
    from flipkd.commands.check import check as stage

    report = stage(config)
    show(report.as_json() if as_json else report.text())
    report.require()


def split(config: SplitConfig) -> None:
    """Cut pairs into train, validation and test that share no text, or none of one side."""
    from flipkd.commands.check import split as stage

    for path, found in stage(config).items():
        unlabelled = f", {found['unlabelled']} unlabelled" if found["unlabelled"] else ""
        show(f"{path}: {found['rows']} pairs ({found['positive']} match, {found['negative']} do not{unlabelled})")
