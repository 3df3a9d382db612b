"""Settings of flipkd generate, which makes pairs."""

from __future__ import annotations

import pytest

from flipkd.command_config import GenerateConfig
from flipkd.errors import ConfigError


def test_generating_asks_a_local_server_and_the_teacher_is_the_critic():
    config = GenerateConfig.check({"seeds": "texts.csv"})
    assert config.base_url.startswith("http://127.0.0.1:")
    assert (config.kind, config.critic, config.templates) == ("pairs", "teacher", ["paraphrase", "contrast"])
    assert config.mismatch_up_to < config.match_from


@pytest.mark.parametrize(
    "values", [{"kind": "pair"}, {"templates": []}, {"temperature": 2.5}, {"max_requests": 0}, {"timeout": 0}]
)
def test_generating_refuses_values_out_of_range(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        GenerateConfig.check({"seeds": "texts.csv"} | values)
