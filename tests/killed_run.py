"""A training run for a process of its own, which may be killed at a step: work for `worlds.exit_code_of`."""

from __future__ import annotations

import os
import sys
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


def _killed(trainer: Any, step: int, place: str, number: int) -> type:
    from transformers import TrainerCallback

    class AtStep(TrainerCallback):
        def on_step_begin(self, args, state, control, **_unused):
            if state.global_step == step and place.startswith("step"):
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
