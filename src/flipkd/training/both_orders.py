"""Checks of a run whose objective reads both orders of a pair in one step."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flipkd import ranks
from flipkd.config import TrainConfig
from flipkd.errors import ConfigError
from flipkd.training.losses import WeightedObjective

logger = logging.getLogger(__name__)


def require_both_orders(config: TrainConfig, terms: Sequence[WeightedObjective]) -> None:
    """Raise ConfigError when a step cannot hold both orders of its pairs, or must hold lists of pairs as well.

    Logs a warning when some pairs are never read. Does nothing when no objective reads both orders.
    """
    names = [term.name for term in terms if "orders" in term.needs]
    if not names:
        return
    lists = [term.name for term in terms if "lists" in term.needs]
    if lists:
        raise ConfigError(
            f"objectives.{names[0]} puts both orders of a pair into one step, and objectives.{lists[0]} all pairs with one "
            "first text; set the weight of one of them to 0"
        )
    if config.per_device_train_batch_size * ranks.world_size() % 2:
        raise ConfigError(
            f"per_device_train_batch_size is {config.per_device_train_batch_size}, but objectives.{names[0]} reads both "
            "orders of a pair in one step; give an even number"
        )
    if config.num_train_epochs < 2:
        logger.warning(
            "objectives.%s uses half of the pairs per epoch, in both orders; with num_train_epochs=%g some pairs are never "
            "used, 2 epochs use all",
            names[0],
            config.num_train_epochs,
        )
