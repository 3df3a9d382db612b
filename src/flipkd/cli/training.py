"""Subcommands that train: teach, train, compare, demo."""

from __future__ import annotations

from typing import Any

from flipkd.cli.launching import ParallelRuns, Processes, launch_processes, require_one_process
from flipkd.cli.terminal import compute, show, stdout_to_stderr
from flipkd.config import CompareConfig, DemoConfig, TeachConfig, TrainConfig


def teach(config: TeachConfig) -> None:
    """Fine-tune the teacher and cache its outputs for every text."""
    require_one_process("teach")
    from flipkd.commands.results import metrics_table
    from flipkd.commands.teach import teach as run

    summary = compute(run, config)
    measured: dict[str, Any] = {
        name: summary[name] for name in ("train", "out_of_fold", "validation") if name in summary
    }
    show(metrics_table(measured) + f"\nteacher: {config.output_dir}")


def train(config: TrainConfig, *, num_processes: Processes = None) -> None:
    """Train the LLM on labels and on the teacher's outputs.

    After a stop, the same command resumes. With torchrun, accelerate launch or --num_processes, several GPUs train together.
    """
    launch_processes(num_processes)
    from flipkd.commands.results import metrics_table
    from flipkd.commands.train import train as run
    from flipkd.files import read_json

    matcher = compute(run, config)
    from flipkd.training.finish import VALIDATION  # imports torch, which is loaded by now

    validation = matcher.with_name(VALIDATION)
    if validation.exists():
        show(metrics_table({"validation": read_json(validation)}))
    show(f"matcher: {matcher}")


def compare(config: CompareConfig, *, num_processes: ParallelRuns = 1) -> None:
    """Train and evaluate several systems on the same pairs.

    After a stop, the same command resumes and computes nothing twice.
    """
    require_one_process("compare")
    from flipkd.comparison.compare import compare as run
    from flipkd.comparison.table import results_table

    with stdout_to_stderr():
        results = run(config, processes=num_processes)
    show(results_table(results))


def demo(config: DemoConfig) -> None:
    """Run all steps in minutes on a laptop, offline.

    Pairs of bank questions, a teacher of 23 million parameters, a student of 268 million.
    """
    require_one_process("demo")
    from flipkd.comparison.demo import demo as run
    from flipkd.comparison.table import results_table

    with stdout_to_stderr():
        results, matcher = run(config.output_dir, seed=config.seed)
    show(results_table(results))
    show(f"\nthe flipped matcher: {matcher}\ntry it: flipkd match --matcher {matcher} --text1 '...' --text2 '...'")
