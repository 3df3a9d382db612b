"""flipkd on the command line: one verb per stage. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperCommand

from flipkd.errors import FlipkdError, UsageError

app = typer.Typer(
    name="flipkd",
    help="Small models that know the domain teach a large language model to match text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of settings", show_default=False)]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="key=value, may be repeated", show_default=False)]
Columns = Annotated[
    list[str] | None, typer.Option("--columns", help="ours=theirs, e.g. text1=title; may be repeated", show_default=False)
]
OutputDir = Annotated[str | None, typer.Option("--output_dir", help="folder to write", show_default=False)]
Train = Annotated[str | None, typer.Option("--train_file", help="training pairs", show_default=False)]
Validation = Annotated[str | None, typer.Option("--validation_file", help="validation pairs", show_default=False)]
Seed = Annotated[int | None, typer.Option("--seed", help="seed of everything random", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
MatcherFolder = Annotated[str, typer.Option("--matcher", help="folder that flipkd train made")]
BaseModel = Annotated[
    str | None, typer.Option("--base_model", help="where the base model is now, if it moved", show_default=False)
]
BatchSize = Annotated[int, typer.Option("--batch_size", min=1, help="pairs per pass")]


def with_settings(config_name: str) -> type[TyperCommand]:
    """A command whose --help also lists every setting of a config model with its default."""

    class SettingsCommand(TyperCommand):
        def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            import flipkd.config

            fields = getattr(flipkd.config, config_name).model_fields
            rows = []
            for name, field in fields.items():
                default = "required" if field.is_required() else json.dumps(field.get_default())
                rows.append((name, f"{field.description} [{default}]"))
            with formatter.section("Settings, for --config FILE and --set key=value [default]"):
                formatter.write_dl(rows)

    return SettingsCommand


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="tell more")] = False,
) -> None:
    """Small models that know the domain teach a large language model to match text."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(help="csv, tsv, jsonl, parquet or hub ids of pairs")],
    columns: Columns = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="model whose tokens lengths are counted in", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at pairs before anything is trained: counts, balance, lengths, duplicates, contradictions, leaks."""
    from flipkd.stages.check import check as stage

    report = stage(files, columns=_mapping(columns), tokenizer=tokenizer)
    _show(report.as_json() if as_json else report.text())
    report.require()


@app.command()
def split(
    pairs: Annotated[str, typer.Argument(help="file of pairs")],
    columns: Columns = None,
    output_dir: Annotated[str, typer.Option("--output_dir", help="folder for the three files")] = "data",
    validation: Annotated[float, typer.Option("--validation", min=0, max=1, help="share of validation pairs")] = 0.1,
    test: Annotated[float, typer.Option("--test", min=0, max=1, help="share of test pairs")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="seed of the split")] = 0,
) -> None:
    """Cut pairs into train, validation and test so that no text stands on two sides."""
    from flipkd.stages.check import split as stage

    sizes = stage(
        pairs, columns=_mapping(columns), output_dir=output_dir, validation=validation, test=test, seed=seed
    )
    _show("\n".join(f"{path}: {rows} pairs" for path, rows in sizes.items()))


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
    """Fine-tune a small model on the pairs and store what it says about every text."""
    from flipkd.config import TeachConfig
    from flipkd.stages.teach import teach as stage

    given = {
        "train_file": train_file,
        "validation_file": validation_file,
        "columns": _mapping(columns),
        "teacher_name_or_path": teacher_name_or_path,
        "output_dir": output_dir,
        "seed": seed,
    }
    settings = TeachConfig.build(config, assignments or (), given)
    summary = stage(settings)
    measured = {name: summary[name] for name in ("train", "validation") if name in summary}
    _show(_metrics_table(measured) + f"\nteacher: {settings.output_dir}")


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
    """Train the LLM by flipped distillation; the same command goes on after a stop."""
    from flipkd.config import TrainConfig
    from flipkd.stages.train import train as stage

    given = {
        "train_file": train_file,
        "validation_file": validation_file,
        "columns": _mapping(columns),
        "teacher": teacher,
        "model_name_or_path": model_name_or_path,
        "output_dir": output_dir,
        "seed": seed,
    }
    _show(f"matcher: {stage(TrainConfig.build(config, assignments or (), given))}")


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
    """Measure a matcher on labelled pairs, at the threshold that validation chose."""
    from flipkd.stages.evaluate import evaluate as stage

    metrics = stage(
        matcher, test_file, columns=_mapping(columns), base_model=base_model, output=output, batch_size=batch_size
    )
    _show(json.dumps(metrics, indent=2) if as_json else _metrics_table({"test": metrics}))


@app.command()
def match(
    matcher: MatcherFolder,
    pairs: Annotated[str | None, typer.Argument(help="file of pairs", show_default=False)] = None,
    text1: Annotated[str | None, typer.Option("--text1", help="one text, instead of a file", show_default=False)] = None,
    text2: Annotated[str | None, typer.Option("--text2", help="the other text", show_default=False)] = None,
    columns: Columns = None,
    base_model: BaseModel = None,
    output: Annotated[
        str | None, typer.Option("--output", help=".csv or .jsonl to write; default: JSON lines on stdout")
    ] = None,
    batch_size: BatchSize = 32,
) -> None:
    """Score, probability and decision for every pair of a file, or for one pair."""
    from flipkd.stages.match import match as stage
    from flipkd.stages.match import match_one, to_jsonl

    if pairs is None:
        if text1 is None or text2 is None:
            raise UsageError("give a file of pairs, or one pair as --text1 and --text2")
        rows = match_one(matcher, text1, text2, base_model=base_model)
    else:
        if text1 is not None or text2 is not None:
            raise UsageError("give a file of pairs, or one pair as --text1 and --text2, not both")
        rows = stage(
            matcher,
            pairs,
            output=output,
            columns=_mapping(columns),
            base_model=base_model,
            batch_size=batch_size,
        )
    if output is None or pairs is None:
        _show(to_jsonl(rows).rstrip("\n"))
    else:
        matches = sum(row["decision"] == "match" for row in rows)
        _show(f"{output}: {len(rows)} pairs, {matches} match")


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
    """Train and measure several systems side by side on the same pairs; a stopped comparison goes on."""
    from flipkd.config import CompareConfig
    from flipkd.stages.compare import compare as stage
    from flipkd.stages.results import results_table

    given = {
        "train_file": train_file,
        "validation_file": validation_file,
        "test_file": test_file,
        "columns": _mapping(columns),
        "output_dir": output_dir,
    }
    _show(results_table(stage(CompareConfig.build(config, assignments or (), given))))


@app.command()
def demo(
    output_dir: Annotated[str, typer.Option("--output_dir", help="folder for data, runs and results")] = "demo",
    seed: Annotated[int, typer.Option("--seed", help="seed of everything random")] = 0,
) -> None:
    """The whole job in minutes on a laptop: bank questions, a 22M teacher, a 270M student, all offline."""
    from flipkd.stages.demo import demo as stage
    from flipkd.stages.results import results_table

    results, matcher = stage(output_dir, seed=seed)
    _show(results_table(results))
    _show(f"\nthe flipped matcher: {matcher}\ntry it: flipkd match --matcher {matcher} --text1 '...' --text2 '...'")


def main() -> None:
    """Run the command line; every error of ours is one sentence and an exit code, a bug of ours is exit code 1."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        _stop(error.format_message(), 2)
    except click.ClickException as error:
        hint = f" (see: {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        _stop(f"flipkd: {error.format_message()}{hint}", 2)
    except (click.Abort, KeyboardInterrupt):
        _stop("flipkd: stopped", 75)
    except FlipkdError as error:
        _fail(error, f"flipkd: {error}", error.exit_code, debug=debug)
    except MemoryError as error:
        _fail(error, "flipkd: memory ran out; use a smaller batch size or model", 5, debug=debug)
    except BrokenPipeError:
        sys.stderr.close()  # the reader left, for example `head`; Python would complain once more at exit
        raise SystemExit(0) from None
    except Exception as error:
        text = f"flipkd: this is a bug in flipkd: {type(error).__name__}: {error} (run again with --debug and report it)"
        _fail(error, text, 1, debug=debug)


def _fail(error: BaseException, text: str, code: int, *, debug: bool) -> None:
    if debug:
        raise error
    _stop(text, code)


def _stop(text: str, code: int) -> None:
    sys.stderr.write(text.rstrip() + "\n")
    raise SystemExit(code)


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")


def _mapping(words: list[str] | None) -> dict[str, str] | None:
    """`ours=theirs` words as a mapping. Raises UsageError for a word without '='."""
    if not words:
        return None
    mapping = {}
    for word in words:
        ours, equals, theirs = word.partition("=")
        if not equals or not ours or not theirs:
            raise UsageError(f"--columns {word!r}: write ours=theirs, for example --columns text1=title")
        mapping[ours] = theirs
    return mapping


def _metrics_table(measured: dict[str, dict[str, Any]]) -> str:
    from flipkd.stages.results import text_table

    names = list(next(iter(measured.values())))
    rows = [[name, *(f"{metrics[name]:.4g}" for metrics in measured.values())] for name in names]
    return text_table(["metric", *measured], rows)


if __name__ == "__main__":
    main()
