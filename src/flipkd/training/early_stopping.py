"""Early stopping: training ends when checkpoints have not become better on validation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from flipkd import ranks
from flipkd.training.metrics_file import MetricsFile

logger = logging.getLogger(__name__)
MEASURED = "validation_average_precision"  # name in the log
DIGITS = 10**9  # ranks exchange integers


class EarlyStopping(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Measure the weights of each checkpoint, and stop after `patience` of them in a row that are no better than the best.

    transformers' EarlyStoppingCallback needs the evaluation loop of its Trainer. Here the decision depends only on the measured
    values, which are in the log of each checkpoint, so a resumed run decides as an uninterrupted one. The last checkpoint of a
    run is not measured. All ranks call `measure` and take the value of rank 0; others may get None.
    """

    def __init__(self, measure: Callable[[], float | None], *, patience: int, metrics: MetricsFile) -> None:
        self.measure, self.patience, self.metrics = measure, patience, metrics

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Measure before a checkpoint is saved, so that the log in it has the value."""
        if not control.should_save or control.should_training_stop:
            return
        measured = self.measure()
        logs = {MEASURED: ranks.broadcast(round((measured or 0.0) * DIGITS)) / DIGITS}
        state.log_history.append({"step": state.global_step, **logs})
        self.metrics.on_log(args, state, control, logs=logs)
        if has_stopped(state.log_history, self.patience):
            logger.warning(
                "stopping early at step %d of %d: the last %d checkpoints are no better than the best (early_stopping_patience)",
                state.global_step,
                state.max_steps,
                self.patience,
            )
            control.should_training_stop = True

    on_epoch_end = on_step_end  # with save_strategy=epoch


def has_stopped(log_history: Sequence[Mapping[str, Any]], patience: int | None) -> bool:
    """Return whether the last `patience` measured values are no better than the best one before them; None: never."""
    values = [line[MEASURED] for line in log_history if MEASURED in line]
    return patience is not None and len(values) > patience and max(values[-patience:]) <= max(values[:-patience])
