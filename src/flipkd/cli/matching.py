"""The verbs that use a finished matcher: evaluate, calibrate, match."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from flipkd.cli.options import (
    AsJson,
    BaseModel,
    BatchSize,
    Cascade,
    CascadeLoss,
    Columns,
    Keep,
    MatcherFolder,
    mapping_of,
)
from flipkd.cli.terminal import prints_on_stderr, show
from flipkd.errors import UsageError


def evaluate(
    matcher: MatcherFolder,
    test_file: Annotated[str, typer.Option("--test_file", help="labelled pairs")],
    columns: Columns = None,
    base_model: BaseModel = None,
    output: Annotated[str | None, typer.Option("--output", help="JSON file to write too", show_default=False)] = None,
    report: Annotated[str | None, typer.Option("--report", help="HTML page to write too", show_default=False)] = None,
    batch_size: BatchSize = None,
    cascade: Cascade = False,
    as_json: AsJson = False,
) -> None:
    """Measure a matcher on labelled pairs."""
    from flipkd.stages.evaluate import evaluate as stage
    from flipkd.stages.results import metrics_table

    mapping = mapping_of(columns)
    with prints_on_stderr():
        metrics = stage(
            matcher,
            test_file,
            columns=mapping,
            base_model=base_model,
            output=output,
            batch_size=batch_size,
            cascade=cascade,
            report=report,
        )
    show(json.dumps(metrics, indent=2) if as_json else metrics_table({"test": metrics}))


def calibrate(
    matcher: MatcherFolder,
    validation_file: Annotated[str, typer.Option("--validation_file", metavar="FILE", help="labelled pairs")],
    output_dir: Annotated[str, typer.Option("--output_dir", metavar="FOLDER", help="folder for the new matcher")],
    threshold: Annotated[
        str,
        typer.Option(
            "--threshold",
            metavar="TARGET",
            help="a match from where this is reached: f1, accuracy, precision=P, recall=R or a number",
        ),
    ] = "f1",
    review: Annotated[
        str | None,
        typer.Option(
            "--review", metavar="TARGET", help="below a match, a pair is for review down to here", show_default=False
        ),
    ] = None,
    symmetric: Annotated[
        bool | None,
        typer.Option(
            "--symmetric/--one-order",
            help="score both orders of a pair and take the mean; default: as the matcher does",
            show_default=False,
        ),
    ] = None,
    cascade: CascadeLoss = None,
    columns: Columns = None,
    base_model: BaseModel = None,
    batch_size: BatchSize = None,
    as_json: AsJson = False,
) -> None:
    """Fit a matcher's probabilities and decisions anew.

    Writes a new matcher. Its scores are those of the one that it was made from, or their mean over both orders.
    """
    from flipkd.stages.calibrate import calibrate as stage
    from flipkd.stages.results import calibration_text

    mapping = mapping_of(columns)
    with prints_on_stderr():
        report = stage(
            matcher,
            validation_file,
            output_dir=output_dir,
            threshold=threshold,
            review=review,
            symmetric=symmetric,
            cascade=cascade,
            columns=mapping,
            base_model=base_model,
            batch_size=batch_size,
        )
    show(json.dumps(report, indent=2) if as_json else f"{calibration_text(report)}\nmatcher: {output_dir}")


def match(
    matcher: MatcherFolder,
    pairs: Annotated[str | None, typer.Argument(help="file of pairs", show_default=False)] = None,
    text1: Annotated[
        str | None, typer.Option("--text1", help="one text, instead of a file", show_default=False)
    ] = None,
    text2: Annotated[str | None, typer.Option("--text2", help="the other text", show_default=False)] = None,
    columns: Columns = None,
    keep: Keep = None,
    guard: Annotated[
        bool,
        typer.Option(
            "--guard/--no-guard", help="in a .csv, put ' before cells that a spreadsheet would run as formulas"
        ),
    ] = True,
    base_model: BaseModel = None,
    output: Annotated[
        str | None, typer.Option("--output", help=".csv or .jsonl to write; default: JSON lines on stdout")
    ] = None,
    batch_size: BatchSize = None,
    cascade: Cascade = False,
) -> None:
    """Score, probability and decision of every pair, or of one."""
    from flipkd.stages.match import match as stage
    from flipkd.stages.match import match_one, pairs_in, to_jsonl

    texts = [text for text in (text1, text2) if text is not None]
    if len(texts) != (2 if pairs is None else 0):
        raise UsageError("give a file of pairs, or one pair as --text1 and --text2")
    if pairs is None and (output is not None or keep):
        raise UsageError("--output and --keep are for a file of pairs; the row of one pair goes to stdout")
    mapping, result = mapping_of(columns), sys.stdout
    with prints_on_stderr():
        if pairs is None:
            result.write(to_jsonl(match_one(matcher, *texts, base_model=base_model, cascade=cascade)))
            return
        counts = stage(
            matcher,
            pairs,
            output=output,
            columns=mapping,
            keep=keep or (),
            guard=guard,
            base_model=base_model,
            batch_size=batch_size,
            cascade=cascade,
            show=result.write,
        )
    if output is not None:
        review = f", {counts['review']} review" if "review" in counts else ""
        show(f"{output}: {pairs_in(counts)} pairs, {counts['match']} match{review}")
