"""The commands that use a finished matcher: evaluate, calibrate, match, index, search, serve."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import show, show_rows, stdout_to_stderr, tell
from flipkd.command_config import CalibrateConfig, EvaluateConfig, IndexConfig, MatchConfig, SearchConfig, ServeConfig


def evaluate(config: EvaluateConfig, *, as_json: AsJson = False) -> None:
    """Measure a matcher on labelled pairs."""
    from flipkd.commands.evaluate import evaluate as stage
    from flipkd.commands.results import metrics_table

    with stdout_to_stderr():
        metrics = stage(config)
    show(json.dumps(metrics, indent=2) if as_json else metrics_table({"test": metrics}))


def calibrate(config: CalibrateConfig, *, as_json: AsJson = False) -> None:
    """Fit a matcher's probabilities and decisions anew.

    Writes a new matcher. Its scores are those of the one that it was made from, or their mean over both orders.
    """
    from flipkd.commands.calibrate import calibrate as stage
    from flipkd.commands.results import calibration_text

    with stdout_to_stderr():
        report = stage(config)
    show(json.dumps(report, indent=2) if as_json else f"{calibration_text(report)}\nmatcher: {config.output_dir}")


def match(config: MatchConfig, *, as_json: AsJson = False) -> None:
    """Score, probability and decision of every pair, or of one."""
    from flipkd.commands.match import match as stage
    from flipkd.commands.match import pairs_in

    result = sys.stdout

    def show_block(rows: list[dict[str, Any]]) -> None:
        with contextlib.redirect_stdout(result):
            show_rows(rows, as_json=as_json)

    with stdout_to_stderr():
        counts = stage(config, show=show_block)
    if config.output is not None:
        review = f", {counts['review']} review" if "review" in counts else ""
        show(f"{config.output}: {pairs_in(counts)} pairs, {counts['match']} match{review}")


def index(config: IndexConfig) -> None:
    """Embed texts once, for search."""
    from flipkd.commands.search import index as stage

    with stdout_to_stderr():
        made = stage(config)
    show(f"{config.output_dir}: {len(made)} texts, vectors of width {made.vectors.shape[1]}")


def search(config: SearchConfig, *, as_json: AsJson = False) -> None:
    """The entries of an index that match a text best."""
    from flipkd.commands.search import search as stage

    with stdout_to_stderr():
        rows = stage(config)
    show_rows(rows, as_json=as_json)


def serve(config: ServeConfig) -> None:
    """Answer over HTTP until stopped."""
    from flipkd.commands.serve import serve as stage

    with stdout_to_stderr():
        at_work = stage(config, listening=lambda url: tell(f"listening on {url}; the model is loading"))
    if at_work:  # Python would wait for the model's thread, whose result is not needed any more
        sys.stderr.flush()
        os._exit(0)
