"""Settings of flipkd diagnose, which measures models."""

from __future__ import annotations

import pytest

from flipkd.command_config import DiagnoseConfig
from flipkd.errors import ConfigError


def test_diagnose_takes_the_kind_as_an_argument_and_samples_pairs():
    config = DiagnoseConfig.check({"kind": "layers", "models": ["llm"]})
    assert (config.limit, config.seed, config.pairs) == (1000, 0, None)
    assert DiagnoseConfig.is_argument("kind")


@pytest.mark.parametrize("values", [{"kind": "layer"}, {"kind": "layers", "limit": 0}, {"kind": "layers", "seed": -1}])
def test_diagnose_refuses_other_kinds_and_numbers(values):
    with pytest.raises(ConfigError):
        DiagnoseConfig.check(values)
