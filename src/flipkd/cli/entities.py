"""Subcommands that find candidate pairs of records and clusters of records: candidates, dedupe."""

from __future__ import annotations

import json

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import show, stdout_to_stderr
from flipkd.command_config import CandidatesConfig, DedupeConfig


def candidates(config: CandidatesConfig, *, as_json: AsJson = False) -> None:
    """Find candidate pairs of records within a file or between two."""
    from flipkd.commands.candidates import candidates as run
    from flipkd.commands.entity_reports import candidates_text

    with stdout_to_stderr():
        found = run(config)
    show(json.dumps(found, indent=2) if as_json else f"{candidates_text(found)}\n{config.output}")


def dedupe(config: DedupeConfig, *, as_json: AsJson = False) -> None:
    """Find clusters of records of the same entity.

    These are three steps: candidates, their match, and clusters. With a second file the clusters join records of both.
    """
    from flipkd.commands.dedupe import dedupe as run
    from flipkd.commands.entity_reports import clusters_text

    with stdout_to_stderr():
        found = run(config)
    show(json.dumps(found, indent=2) if as_json else clusters_text(found))
