"""Subcommands that use a trained matcher: evaluate, calibrate, match, search, serve, push."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from flipkd.cli.options import AsJson
from flipkd.cli.terminal import compute, print_status, show, show_result, show_rows, stdout_to_stderr
from flipkd.command_config import (
    CalibrateConfig,
    EvaluateConfig,
    MatchConfig,
    PushConfig,
    SearchConfig,
    ServeConfig,
)


def evaluate(config: EvaluateConfig, *, as_json: AsJson = False) -> None:
    """Evaluate a matcher on labelled pairs."""
    from flipkd.commands.evaluate import evaluate as run
    from flipkd.commands.results import metrics_table

    metrics = compute(run, config)
    files = {
        "output": config.output,
        "report": config.report,
        "card": config.card and f"README.md in {config.matcher}",
    }
    written = "".join(f"\n{name}: {file}" for name, file in files.items() if file)
    show_result(metrics, metrics_table({"test": metrics}) + written, as_json=as_json)


def calibrate(config: CalibrateConfig, *, as_json: AsJson = False) -> None:
    """Refit the calibration and the thresholds of a matcher.

    Writes a new matcher. It has the scores of the old one, their mean over both orders of a pair, or one part of the score.
    """
    from flipkd.commands.calibrate import calibrate as run
    from flipkd.commands.results import calibration_text

    report = compute(run, config)
    show_result(report, f"{calibration_text(report)}\nmatcher: {config.output_dir}", as_json=as_json)


def match(config: MatchConfig, *, as_json: AsJson = False) -> None:
    """Write score, probability and decision of every pair.

    With --output_dir the pairs of any number of files are matched, on one machine or on a Ray cluster.
    """
    if config.output_dir is not None:
        _match_files(config, as_json=as_json)
    else:
        _match_file(config, as_json=as_json)


def _match_file(config: MatchConfig, *, as_json: bool) -> None:
    from flipkd.commands.match import match as run

    result = sys.stdout

    def show_block(rows: list[dict[str, Any]]) -> None:
        with contextlib.redirect_stdout(result):
            show_rows(rows, as_json=as_json)

    with stdout_to_stderr():
        counts = run(config, show=show_block)
    if config.output is not None:
        show(f"{config.output}: {_counts_text(counts)}")


def _match_files(config: MatchConfig, *, as_json: bool) -> None:
    from flipkd.commands.match_files import match_files
    from flipkd.data.scored import REJECTED

    summary = compute(match_files, config)
    rejected = f"; {summary['rejected']} rows could not be scored: {config.output_dir}/{REJECTED}"
    text = f"{config.output_dir}: {_counts_text(summary['decisions'])}{rejected if summary['rejected'] else ''}"
    show(json.dumps(summary) if as_json else text)


def _counts_text(decisions: Mapping[str, int]) -> str:
    review = f", {decisions['review']} review" if "review" in decisions else ""
    return f"{sum(decisions.values())} pairs, {decisions.get('match', 0)} match{review}"


def search(config: SearchConfig, *, as_json: AsJson = False) -> None:
    """Find the entries of an index that match a text best."""
    from flipkd.commands.search import search as run

    rows = compute(run, config)
    show_rows(rows, as_json=as_json)


def serve(config: ServeConfig) -> None:
    """Serve a matcher over HTTP until stopped."""
    from flipkd.commands.serve import serve as run

    def show_address(url: str) -> None:
        page = f"; people label pairs at {url}/review" if config.review_queue else ""
        print_status(f"listening on {url}; the model is loading{page}")

    with stdout_to_stderr():
        still_computing = run(config, listening=show_address)
    if still_computing:  # Python would wait for the model's thread, whose result is no longer needed
        sys.stderr.flush()
        os._exit(0)


def push(config: PushConfig) -> None:
    """Upload a matcher to the Hugging Face hub.

    Texts, labels and scores stay here. The token is that of HF_TOKEN or of hf auth login.
    """
    from flipkd.commands.push import push as run

    address = compute(run, config)
    show(address)
