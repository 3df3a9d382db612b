"""Subcommands that measure models and rankings: diagnose; retrieval, and retrieval-set, which makes its files."""

from __future__ import annotations

from typing import Any

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import compute, show, show_result
from flipkd.command_config import DiagnoseConfig, RetrievalConfig, RetrievalSetConfig
from flipkd.figures import figure


def diagnose(config: DiagnoseConfig, *, as_json: AsJson = False) -> None:
    """Measure what a teacher or a base model knows before training.

    domain: pairs of another domain; aliases and analogies: names and relations; layers: where a model knows the label;
    students: a ranking of base models.
    """
    from flipkd.commands.diagnose import diagnose as run
    from flipkd.commands.results import text_table

    rows = compute(run, config)
    cells = [[_cell(value) for value in row.values()] for row in rows]
    show_result(rows, text_table(list(rows[0]), cells), as_json=as_json)


def _cell(value: Any) -> str:
    return figure(value, 4) if isinstance(value, float) else str(value)


def retrieval_set(config: RetrievalSetConfig) -> None:
    """Make a retrieval test from labelled pairs.

    It has the queries, documents and judgements that flipkd retrieval reads.
    """
    from flipkd.commands.retrieval_set import retrieval_set as run

    counts = run(config)
    show(f"{config.output_dir}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


def retrieval(config: RetrievalConfig, *, as_json: AsJson = False) -> None:
    """Measure how well queries find their documents.

    First stages: BM25 and an encoder; a matcher ranks the first documents of each again.
    """
    from flipkd.commands.retrieval import retrieval as run
    from flipkd.commands.retrieval import retrieval_text

    result = compute(run, config)
    show_result(result, retrieval_text(result), as_json=as_json)
