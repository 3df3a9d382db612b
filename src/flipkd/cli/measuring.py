"""Subcommands that measure how well queries find their documents: retrieval, and retrieval-set, which makes its files."""

from __future__ import annotations

import json

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import show, stdout_to_stderr
from flipkd.command_config import RetrievalConfig, RetrievalSetConfig


def retrieval(config: RetrievalConfig, *, as_json: AsJson = False) -> None:
    """Measure how well queries find their documents.

    First stages: BM25 and an encoder; a matcher ranks the first documents of each again.
    """
    from flipkd.commands.retrieval import retrieval as run
    from flipkd.commands.retrieval import retrieval_text

    with stdout_to_stderr():
        result = run(config)
    show(json.dumps(result, indent=2) if as_json else retrieval_text(result))


def retrieval_set(config: RetrievalSetConfig) -> None:
    """Make a retrieval test from labelled pairs.

    It has the queries, documents and judgements that flipkd retrieval reads.
    """
    from flipkd.commands.retrieval_set import retrieval_set as run

    counts = run(config)
    show(f"{config.output_dir}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
