"""A training run for a process of its own, which may be killed at a step: work for `worlds.exit_code_of`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def train_until(settings: dict[str, Any], step: int, place: str, number: int) -> None:
    """Train on the pairs of `make_table`; signal `number` comes at `step` (0: never), in `place`.

    A place is "step", "step, twice" (two signals) or "before manifest".
    """
    import torch
    from tiny import make_table

    from flipkd.config import TrainConfig
    from flipkd.errors import FlipkdError
    from flipkd.training import run, trainer

    torch.set_num_threads(1)
    if step:
        trainer.DistillationTrainer = _killed(trainer, step, place, number)
    config = TrainConfig.check(settings)
    student, contract = run.fresh_student(config)
    table, validation = make_table(), make_table(24, seed=1)
    try:
        objectives = run.run_objectives(config, table, validation)
        run.train(student, contract, config, objectives=objectives, table=table, validation=validation)
    except FlipkdError as error:
        sys.exit(error.exit_code)


def train_stages_until(settings: dict[str, Any], folder: str, step: int | None) -> None:
    """Run the command train; SIGKILL comes in the stage of that folder at `step`, None: when its matcher is written."""
    import torch

    from flipkd.commands.train import train
    from flipkd.config import TrainConfig
    from flipkd.training import finish, trainer

    torch.set_num_threads(1)
    if folder and step is None:
        finish.model_card = lambda config, *_, **__: (
            os.kill(os.getpid(), signal.SIGKILL) if Path(config.output_dir).name == folder else "a card"
        )
    elif folder:
        trainer.DistillationTrainer = _killed(trainer, step, "step", signal.SIGKILL, folder=folder)
    train(TrainConfig.check(settings))


def _killed(trainer: Any, step: int, place: str, number: int, *, folder: str | None = None) -> type:
    from transformers import TrainerCallback

    class AtStep(TrainerCallback):
        def on_step_begin(self, args, state, control, **_unused):
            here = folder is None or Path(args.output_dir).name == folder
            if here and state.global_step == step and place.startswith("step"):
                for _ in range(2 if place == "step, twice" else 1):
                    os.kill(os.getpid(), number)

        def on_save(self, args, state, control, **_unused):
            if state.global_step == step and place == "before manifest":
                os.kill(os.getpid(), number)

    class Killed(trainer.DistillationTrainer):
        def __init__(self, **arguments):
            arguments["callbacks"] = [AtStep(), *arguments["callbacks"]]
            super().__init__(**arguments)

    return Killed
