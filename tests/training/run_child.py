"""A training run in a process of its own: argv = settings as JSON, step to be killed at (0: never), where, signal."""

import json
import os
import sys

import torch
from tiny import make_table

from flipkd.config import TrainConfig
from flipkd.errors import FlipkdError
from flipkd.training import checkpoints, run

settings, step, place, number = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(1)


def die(*_args, **_kwargs):
    os.kill(os.getpid(), number)


class AtStep(checkpoints.TrainerCallback):
    def on_step_begin(self, args, state, control, **_unused):
        if state.global_step == step and place.startswith("step"):
            die()
            if place == "step, twice":
                die()

    def on_save(self, args, state, control, **_unused):
        if state.global_step == step and place == "before manifest":
            die()


if step:
    from flipkd.training import trainer

    class Killed(trainer.DistillationTrainer):
        def __init__(self, **arguments):
            arguments["callbacks"] = [AtStep(), *arguments["callbacks"]]
            super().__init__(**arguments)

    trainer.DistillationTrainer = Killed

config = TrainConfig.check(settings)
student, contract = run.fresh_student(config)
table = make_table()
try:
    run.train(student, contract, config, table=table, validation=make_table(24, seed=1))
except FlipkdError as error:
    sys.exit(error.exit_code)
