"""A window of a training's steps, timed from outside: after a warm-up, between two waits for the device.

It works for every Trainer alike, ours and the peers': while `watching`, transformers gives the clock to each that is built.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from card import now
from transformers import TrainerCallback
from transformers import trainer as transformers_trainer

LEAST_STEPS = 5  # in a window, however slow they are
ENDLESS = 1_000_000  # steps: the clock ends the run


class Clock(TrainerCallback):
    """Starts when nothing was compiled for a while, or after `patience` seconds; ends the run `window` seconds later.

    A while is `warm_steps` steps, or of slow steps LEAST_STEPS that take as long as a window.
    """

    def __init__(self, *, warm_steps: int, window: float, patience: float) -> None:
        self.warm_steps, self.window, self.patience = warm_steps, window, patience
        self.batch = self.compiled = self.quiet_from = self.first = self.last = 0  # steps, but for the batch
        self.begun = self.quiet_since = self.started = self.ended = 0.0
        self.first_epoch = self.last_epoch = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Note the batch, whoever chose it."""
        self.batch = args.train_batch_size * args.gradient_accumulation_steps
        self.begun = self.quiet_since = time.perf_counter()
        self.compiled = compiled_frames()

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Start the window, or end it and with it the run."""
        step, moment = state.global_step, time.perf_counter()
        if not self.started:
            if (compiled := compiled_frames()) != self.compiled:
                self.compiled, self.quiet_from, self.quiet_since = compiled, step, moment
            quiet, seconds = step - self.quiet_from, moment - self.quiet_since
            slow = quiet >= LEAST_STEPS and seconds >= self.window
            if quiet >= self.warm_steps or slow or moment - self.begun > self.patience:
                self.first, self.first_epoch, self.started = step, state.epoch, now()
        elif moment - self.started >= self.window and step - self.first >= LEAST_STEPS:
            self.last, self.last_epoch, self.ended = step, state.epoch, now()
            control.should_training_stop = True

    def result(self, pairs: int) -> dict[str, Any]:
        """The window of a run over so many pairs, and what was before it. Raises RuntimeError when the run ended too soon.

        Pairs are counted by the share of an epoch that was read, so that packed rows and uneven batches count right.
        """
        if not self.ended:
            raise RuntimeError("the training ended before its window was over")
        read, seconds = (self.last_epoch - self.first_epoch) * pairs, self.ended - self.started
        return {
            "value": read / seconds,
            "unit": "pairs/s",
            "pairs": round(read),
            "steps": self.last - self.first,
            "seconds": seconds,
            "warm_up_steps": self.first,
            "warm_up_seconds": self.started - self.begun,
            "compiled_in_window": compiled_frames() - self.compiled,
        }


def compiled_frames() -> int:
    """Functions that torch.compile has looked at, and CUDA graphs that our steps have recorded, in this process so far."""
    graphs = sys.modules.get("flipkd.training.graphs")
    recorded = 0 if graphs is None else graphs.GraphedStep.recorded
    if "torch._dynamo.utils" not in sys.modules:
        return int(recorded)
    return int(recorded) + sum(sys.modules["torch._dynamo.utils"].counters["frames"].values())


@contextmanager
def watching(clock: Clock) -> Iterator[None]:
    """Whoever builds a Trainer meanwhile has the clock in it."""
    callbacks = transformers_trainer.DEFAULT_CALLBACKS
    callbacks.append(clock)
    try:
        yield
    finally:
        callbacks.remove(clock)
