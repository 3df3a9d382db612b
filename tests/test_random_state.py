"""own_random_state: a training seeds the generators for itself alone, and trainings in threads wait for each other."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from threads import numbers_inside
from transformers import set_seed

from flipkd.random_state import own_random_state


def draws():
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_own_random_state_puts_the_generators_back():
    set_seed(1)
    expected = draws()
    set_seed(1)
    with pytest.raises(ZeroDivisionError), own_random_state():
        set_seed(2)
        raise ZeroDivisionError
    assert draws() == expected


def test_own_random_state_lets_one_thread_train_at_a_time(caplog):
    @own_random_state()
    def train(body):
        with own_random_state():  # a training within a training, as in a comparison, waits for nobody
            body()

    assert numbers_inside(train, threads=3) == [1] * 3
    assert "another thread of this process is training; waiting until it ends" in caplog.text
