"""Checks of a run whose objective reads both orders of a pair in one step."""

from __future__ import annotations

import pytest

from flipkd.errors import ConfigError
from flipkd.training.losses import resolve_objectives
from flipkd.training.run import require_both_orders

OBJECTIVES = {"answer_cross_entropy": 1.0, "order_consistency": 1.0}


def checked(make_config, objectives=OBJECTIVES, **settings):
    require_both_orders(make_config(**settings), resolve_objectives(objectives, teacher_facts={}))


def test_require_both_orders_refuses_an_odd_step_and_lists(make_config):
    with pytest.raises(ConfigError, match=r"per_device_train_batch_size is 7, .* give an even number"):
        checked(make_config, per_device_train_batch_size=7)
    checked(make_config, {"answer_cross_entropy": 1.0}, per_device_train_batch_size=7)
    with pytest.raises(ConfigError, match=r"into one step, and objectives\.list_softmax all pairs"):
        checked(make_config, OBJECTIVES | {"list_softmax": 1.0})


@pytest.mark.parametrize("epochs, is_warned", [(1, True), (2, False)])
def test_require_both_orders_warns_of_one_epoch(make_config, epochs, is_warned, caplog):
    checked(make_config, num_train_epochs=epochs)
    assert ("some pairs are never used" in caplog.text) is is_warned
