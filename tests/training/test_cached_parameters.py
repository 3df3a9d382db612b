"""CachedParametersModule: what is cached, and what it does to gradients."""

import pytest
import torch
from torch import nn

from flipkd.training.cached_parameters import CachedParametersModule


class Tiny(CachedParametersModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)


@pytest.mark.parametrize("cached", [False, True])
def test_zero_grad_removes_or_zeroes_the_gradients(cached):
    module = Tiny()
    if cached:
        module.cache_parameters()
    module.layer(torch.ones(2)).backward()
    module.zero_grad(set_to_none=False)
    assert [p.grad.abs().sum().item() for p in module.parameters()] == [0, 0]
    module.zero_grad()
    assert all(p.grad is None for p in module.parameters())


def test_cached_parameters_are_looked_up_once():
    module = Tiny()
    module.later = nn.Linear(2, 1)
    assert len(list(module.parameters())) == 4
    module.cache_parameters()
    module.after = nn.Linear(2, 1)
    assert len(list(module.parameters())) == 4
