"""How a run is stopped from outside: by a signal, behind a step, with a checkpoint."""

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
    """SIGTERM or SIGINT: finish the step, save, stop. A second signal stops at once.

    Of several ranks one may be asked a step before another: all stop behind the step in which every one knows of it.
    """

    def __init__(self) -> None:
        self.asked = False  # this process
        self.asked_all = False  # any of them, as all know by now
        self._vote = ranks.Vote()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the run lasts; in a thread other than the main one signals cannot be caught, and are not."""
        before: dict[int, Any] = {}

        def ask(number: int, _frame: FrameType | None) -> None:
            self.asked = True
            signal.signal(number, before[number])
            logger.warning("stopping after this step and saving; send the signal again to stop at once")

        with contextlib.suppress(ValueError):
            for number in (signal.SIGTERM, signal.SIGINT):
                before[int(number)] = signal.signal(number, ask)
        try:
            yield
        finally:
            for caught, handler in before.items():
                signal.signal(caught, handler)

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Ask the Trainer to save and stop."""
        self.asked_all = self._vote.cast(self.asked)
        if self.asked_all and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
