"""The verbs that train: teach, train, compare, demo."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flipkd.cli.launching import Processes, SideBySide, in_one_process, in_processes
from flipkd.cli.options import Assignments, Columns, ConfigFile, OutputDir, Seed, Train, Validation, mapping_of
from flipkd.cli.terminal import prints_on_stderr, show


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
    in_one_process("teach")
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
    measured: dict[str, Any] = {
        name: summary[name] for name in ("train", "out_of_fold", "validation") if name in summary
    }
    show(metrics_table(measured) + f"\nteacher: {settings.output_dir}")


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
    num_processes: Processes = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Train the LLM on labels and on what the teacher says.

    The same command goes on after a stop. Under torchrun or accelerate launch, or with --num_processes, several GPUs train
    together.
    """
    from flipkd.config import TrainConfig
    from flipkd.files import read_json
    from flipkd.stages.results import metrics_table
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
    in_processes(num_processes)
    with prints_on_stderr():
        matcher = stage(settings)
    from flipkd.training.finish import VALIDATION  # brings torch, as the stage did

    validation = matcher.with_name(VALIDATION)
    if validation.exists():
        show(metrics_table({"validation": read_json(validation)}))
    show(f"matcher: {matcher}")


def compare(
    train_file: Train = None,
    validation_file: Validation = None,
    test_file: Annotated[str | None, typer.Option("--test_file", help="test pairs", show_default=False)] = None,
    columns: Columns = None,
    output_dir: OutputDir = None,
    num_processes: SideBySide = 1,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Train and measure several systems on the same pairs.

    The same command goes on after a stop, and computes nothing twice.
    """
    in_one_process("compare")
    from flipkd.comparison.compare import compare as stage
    from flipkd.comparison.table import results_table
    from flipkd.config import CompareConfig

    given = {
        "train_file": train_file,
        "validation_file": validation_file,
        "test_file": test_file,
        "columns": mapping_of(columns),
        "output_dir": output_dir,
    }
    settings = CompareConfig.build(config, assignments or (), given)
    with prints_on_stderr():
        results = stage(settings, processes=num_processes)
    show(results_table(results))


def demo(
    output_dir: Annotated[str, typer.Option("--output_dir", help="folder for data, runs and results")] = "demo",
    seed: Annotated[int, typer.Option("--seed", help="seed of everything random")] = 0,
) -> None:
    """The whole job in minutes on a laptop, offline.

    Bank questions, a teacher of 23 million parameters, a student of 268 million.
    """
    in_one_process("demo")
    from flipkd.comparison.demo import demo as stage
    from flipkd.comparison.table import results_table

    with prints_on_stderr():
        results, matcher = stage(output_dir, seed=seed)
    show(results_table(results))
    show(f"\nthe flipped matcher: {matcher}\ntry it: flipkd match --matcher {matcher} --text1 '...' --text2 '...'")
