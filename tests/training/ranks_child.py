"""`flipkd` as a launcher starts it, with rank 1 sending itself a signal: FLIPKD_TEST=step:signal."""

import os

from flipkd import ranks
from flipkd.cli import launching, main

launching.COMMAND = (__file__,)
if ranks.rank() == 1:
    from flipkd.training import trainer

    step, number = map(int, os.environ["FLIPKD_TEST"].split(":"))

    class AtStep(trainer.StepSeed):
        def on_step_begin(self, args, state, control, **unused):
            super().on_step_begin(args, state, control, **unused)
            if state.global_step == step:
                os.kill(os.getpid(), number)

    trainer.StepSeed = AtStep

main()
