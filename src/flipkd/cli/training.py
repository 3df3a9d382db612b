"""The commands that train: teach, train, compare, demo."""

from __future__ import annotations

from typing import Any

from flipkd.cli.launching import Processes, SideBySide, in_one_process, in_processes
from flipkd.cli.terminal import show, stdout_to_stderr
from flipkd.command_config import DemoConfig
from flipkd.config import CompareConfig, TeachConfig, TrainConfig


def teach(config: TeachConfig) -> None:
    """Fine-tune a small model and store its outputs for every text."""
    in_one_process("teach")
    from flipkd.commands.results import metrics_table
    from flipkd.commands.teach import teach as stage

    with stdout_to_stderr():
        summary = stage(config)
    measured: dict[str, Any] = {
        name: summary[name] for name in ("train", "out_of_fold", "validation") if name in summary
    }
    show(metrics_table(measured) + f"\nteacher: {config.output_dir}")


def train(config: TrainConfig, *, num_processes: Processes = None) -> None:
    """Train the LLM on labels and on the teacher's outputs.

    The same command goes on after a stop. Under torchrun or accelerate launch, or with --num_processes, several GPUs train
    together.
    """
    in_processes(num_processes)
    from flipkd.commands.results import metrics_table
    from flipkd.commands.train import train as stage
    from flipkd.files import read_json

    with stdout_to_stderr():
        matcher = stage(config)
    from flipkd.training.finish import VALIDATION  # brings torch, as the stage did

    validation = matcher.with_name(VALIDATION)
    if validation.exists():
        show(metrics_table({"validation": read_json(validation)}))
    show(f"matcher: {matcher}")


def compare(config: CompareConfig, *, num_processes: SideBySide = 1) -> None:
    """Train and measure several systems on the same pairs.

    The same command goes on after a stop, and computes nothing twice.
    """
    in_one_process("compare")
    from flipkd.comparison.compare import compare as stage
    from flipkd.comparison.table import results_table

    with stdout_to_stderr():
        results = stage(config, processes=num_processes)
    show(results_table(results))


def demo(config: DemoConfig) -> None:
    """The whole job in minutes on a laptop, offline.

    Bank questions, a teacher of 23 million parameters, a student of 268 million.
    """
    in_one_process("demo")
    from flipkd.comparison.demo import demo as stage
    from flipkd.comparison.table import results_table

    with stdout_to_stderr():
        results, matcher = stage(config.output_dir, seed=config.seed)
    show(results_table(results))
    show(f"\nthe flipped matcher: {matcher}\ntry it: flipkd match --matcher {matcher} --text1 '...' --text2 '...'")
