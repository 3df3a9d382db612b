"""flipkd on the command line: one verb per stage. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import atexit
import gc
import json
import logging
import sys
from typing import Annotated, Any

import typer

from flipkd.errors import UsageError
from flipkd.options import (
    AsJson,
    Assignments,
    BaseModel,
    BatchSize,
    Columns,
    ConfigFile,
    MatcherFolder,
    OutputDir,
    Seed,
    Train,
    Validation,
    mapping_of,
)
from flipkd.terminal import prints_on_stderr, quieten_libraries, run, show, with_settings

app = typer.Typer(
    name="flipkd",
    help="Small models that know the domain teach a large language model to match text.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="tell more")] = False,
) -> None:
    """Small models that know the domain teach a large language model to match text."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)
    if not verbose:
        quieten_libraries()


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(help="csv, tsv, jsonl, parquet or hub ids of pairs")],
    columns: Columns = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="model whose tokens lengths are counted in", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at pairs before training: balance, lengths, repeats, leaks."""
    from flipkd.stages.check import check as stage

    report = stage(files, columns=mapping_of(columns), tokenizer=tokenizer)
    show(report.as_json() if as_json else report.text())
    report.require()


@app.command()
def split(
    pairs: Annotated[str, typer.Argument(help="file of pairs")],
    columns: Columns = None,
    output_dir: Annotated[str, typer.Option("--output_dir", help="folder for the three files")] = "data",
    validation: Annotated[float, typer.Option("--validation", min=0, max=1, help="share of validation pairs")] = 0.1,
    test: Annotated[float, typer.Option("--test", min=0, max=1, help="share of test pairs")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of the split")] = 0,
) -> None:
    """Cut pairs into train, validation and test that share no text."""
    from flipkd.stages.check import split as stage

    sizes = stage(
        pairs, columns=mapping_of(columns), output_dir=output_dir, validation=validation, test=test, seed=seed
    )
    show("\n".join(f"{path}: {rows} pairs" for path, rows in sizes.items()))


@app.command(cls=with_settings("TeachConfig"))
def teach(
    train_file: Train = None,
    validation_file: Validation = None,
    columns: Columns = None,
    teacher_name_or_path: Annotated[
        str | None, typer.Option("--teacher_name_or_path", help="the small model", show_default=False)
    ] = None,
    output_dir: OutputDir = None,
    seed: Seed = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Fine-tune a small model and store what it says of every text."""
    from flipkd.config import TeachConfig
    from flipkd.stages.results import metrics_table
    from flipkd.stages.teach import teach as stage

    given = {
        "train_file": train_file,
        "validation_file": validation_file,
        "columns": mapping_of(columns),
        "teacher_name_or_path": teacher_name_or_path,
        "output_dir": output_dir,
        "seed": seed,
    }
    settings = TeachConfig.build(config, assignments or (), given)
    with prints_on_stderr():
        summary = stage(settings)
    measured: dict[str, Any] = {name: summary[name] for name in ("train", "validation") if name in summary}
    show(metrics_table(measured) + f"\nteacher: {settings.output_dir}")


@app.command(cls=with_settings("TrainConfig"))
def train(
    train_file: Train = None,
    validation_file: Validation = None,
    columns: Columns = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="folder that flipkd teach made", show_default=False)
    ] = None,
    model_name_or_path: Annotated[
        str | None, typer.Option("--model_name_or_path", help="the LLM", show_default=False)
    ] = None,
    output_dir: OutputDir = None,
    seed: Seed = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Train the LLM on labels and on what the teacher says.

    The same command goes on after a stop.
    """
    from flipkd.config import TrainConfig
    from flipkd.stages.train import train as stage

    given = {
        "train_file": train_file,
        "validation_file": validation_file,
        "columns": mapping_of(columns),
        "teacher": teacher,
        "model_name_or_path": model_name_or_path,
        "output_dir": output_dir,
        "seed": seed,
    }
    settings = TrainConfig.build(config, assignments or (), given)
    with prints_on_stderr():
        matcher = stage(settings)
    show(f"matcher: {matcher}")


@app.command()
def evaluate(
    matcher: MatcherFolder,
    test_file: Annotated[str, typer.Option("--test_file", help="labelled pairs")],
    columns: Columns = None,
    base_model: BaseModel = None,
    output: Annotated[str | None, typer.Option("--output", help="JSON file to write too", show_default=False)] = None,
    batch_size: BatchSize = 32,
    as_json: AsJson = False,
) -> None:
    """Measure a matcher on labelled pairs."""
    from flipkd.stages.evaluate import evaluate as stage
    from flipkd.stages.results import metrics_table

    mapping = mapping_of(columns)
    with prints_on_stderr():
        metrics = stage(
            matcher, test_file, columns=mapping, base_model=base_model, output=output, batch_size=batch_size
        )
    show(json.dumps(metrics, indent=2) if as_json else metrics_table({"test": metrics}))


@app.command()
def match(
    matcher: MatcherFolder,
    pairs: Annotated[str | None, typer.Argument(help="file of pairs", show_default=False)] = None,
    text1: Annotated[
        str | None, typer.Option("--text1", help="one text, instead of a file", show_default=False)
    ] = None,
    text2: Annotated[str | None, typer.Option("--text2", help="the other text", show_default=False)] = None,
    columns: Columns = None,
    base_model: BaseModel = None,
    output: Annotated[
        str | None, typer.Option("--output", help=".csv or .jsonl to write; default: JSON lines on stdout")
    ] = None,
    batch_size: BatchSize = 32,
) -> None:
    """Score, probability and decision of every pair, or of one."""
    from flipkd.stages.match import match as stage
    from flipkd.stages.match import match_one, to_jsonl

    texts = [text for text in (text1, text2) if text is not None]
    if len(texts) != (2 if pairs is None else 0):
        raise UsageError("give a file of pairs, or one pair as --text1 and --text2")
    if pairs is None and output is not None:
        raise UsageError("--output is for a file of pairs; the row of one pair goes to stdout")
    mapping = mapping_of(columns)
    with prints_on_stderr():
        if pairs is None:
            rows = match_one(matcher, *texts, base_model=base_model)
        else:
            rows = stage(matcher, pairs, output=output, columns=mapping, base_model=base_model, batch_size=batch_size)
    if output is None:
        show(to_jsonl(rows).rstrip("\n"))
    else:
        matches = sum(row["decision"] == "match" for row in rows)
        show(f"{output}: {len(rows)} pairs, {matches} match")


@app.command(cls=with_settings("CompareConfig"))
def compare(
    train_file: Train = None,
    validation_file: Validation = None,
    test_file: Annotated[str | None, typer.Option("--test_file", help="test pairs", show_default=False)] = None,
    columns: Columns = None,
    output_dir: OutputDir = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Train and measure several systems on the same pairs.

    The same command goes on after a stop, and computes nothing twice.
    """
    from flipkd.config import CompareConfig
    from flipkd.stages.compare import compare as stage
    from flipkd.stages.results import results_table

    given = {
        "train_file": train_file,
        "validation_file": validation_file,
        "test_file": test_file,
        "columns": mapping_of(columns),
        "output_dir": output_dir,
    }
    settings = CompareConfig.build(config, assignments or (), given)
    with prints_on_stderr():
        results = stage(settings)
    show(results_table(results))


@app.command()
def demo(
    output_dir: Annotated[str, typer.Option("--output_dir", help="folder for data, runs and results")] = "demo",
    seed: Annotated[int, typer.Option("--seed", help="seed of everything random")] = 0,
) -> None:
    """The whole job in minutes on a laptop, offline.

    Bank questions, a teacher of 23 million parameters, a student of 268 million.
    """
    from flipkd.stages.demo import demo as stage
    from flipkd.stages.results import results_table

    with prints_on_stderr():
        results, matcher = stage(output_dir, seed=seed)
    show(results_table(results))
    show(f"\nthe flipped matcher: {matcher}\ntry it: flipkd match --matcher {matcher} --text1 '...' --text2 '...'")


def main() -> None:
    """Run the command line."""
    # Imports and models are a million objects that stay; looking for garbage among them, again and again while they load
    # and once more at the end, would be a large part of a short command's time.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    run(app)


if __name__ == "__main__":
    main()
