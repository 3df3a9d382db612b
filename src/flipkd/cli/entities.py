"""Subcommands that find candidate pairs of records and clusters of records: candidates, dedupe."""

from __future__ import annotations

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import compute, show_result
from flipkd.command_config import CandidatesConfig, DedupeConfig


def candidates(config: CandidatesConfig, *, as_json: AsJson = False) -> None:
    """Find candidate pairs of records within a file or between two."""
    from flipkd.commands.candidates import candidates as run
    from flipkd.commands.candidates import candidates_text

    found = compute(run, config)
    show_result(found, f"{candidates_text(found)}\n{config.output}", as_json=as_json)


def dedupe(config: DedupeConfig, *, as_json: AsJson = False) -> None:
    """Find clusters of records of the same entity.

    These are three steps: candidates, their match, and clusters. With a second file the clusters join records of both.
    """
    from flipkd.commands.dedupe import clusters_text
    from flipkd.commands.dedupe import dedupe as run

    found = compute(run, config)
    show_result(found, clusters_text(found), as_json=as_json)
