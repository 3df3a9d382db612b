"""Subcommand that measures models without training: diagnose."""

from __future__ import annotations

import json
from typing import Any

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import show, stdout_to_stderr
from flipkd.command_config import DiagnoseConfig
from flipkd.figures import figure


def diagnose(config: DiagnoseConfig, *, as_json: AsJson = False) -> None:
    """Measure what a teacher or a base model knows before training.

    domain: pairs of another domain; aliases and analogies: names and relations; layers: where a model knows the label;
    students: a ranking of base models.
    """
    from flipkd.commands.diagnose import diagnose as run
    from flipkd.commands.results import text_table

    with stdout_to_stderr():
        rows = run(config)
    cells = [[_cell(value) for value in row.values()] for row in rows]
    show(json.dumps(rows, indent=2) if as_json else text_table(list(rows[0]), cells))


def _cell(value: Any) -> str:
    return figure(value, 4) if isinstance(value, float) else str(value)
