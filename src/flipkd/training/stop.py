"""Graceful stop of a run by a signal: after the current step, with a checkpoint."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from flipkd import ranks

logger = logging.getLogger(__name__)


class GracefulStop(TrainerCallback):  # type: ignore[misc]
    """Stop a run on SIGTERM or SIGINT after the current step, with a checkpoint. A second signal stops at once.

    One rank may get the signal a step before another: all stop after the same step.
    """

    def __init__(self) -> None:
        self.requested = False  # this process
        self.all_requested = False  # any rank, agreed by all ranks
        self._vote = ranks.Vote()

    @contextlib.contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Context manager that handles the signals; in a thread other than the main one it does nothing."""
        before: dict[int, Any] = {}

        def request_stop(number: int, _frame: FrameType | None) -> None:
            self.requested = True
            signal.signal(number, before[number])
            logger.warning("stopping after this step and saving; send the signal again to stop at once")

        with contextlib.suppress(ValueError):
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not None:  # that of a program in C around Python cannot be put back
                    before[int(number)] = signal.signal(number, request_stop)
        try:
            yield
        finally:
            for caught, handler in before.items():
                signal.signal(caught, handler)

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Make the Trainer save and stop if any rank got a signal."""
        self.all_requested = self._vote.cast(self.requested)
        if self.all_requested and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
