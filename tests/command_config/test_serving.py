"""Settings of flipkd serve, and of its file of models."""

from __future__ import annotations

import pytest

from flipkd.command_config import ServeConfig
from flipkd.command_config.serving import ModelsFile
from flipkd.errors import ConfigError


def test_serving_listens_on_the_loopback_address_only_by_default():
    config = ServeConfig.check({"matcher": "m"})
    assert (config.host, config.insecure, config.cors_origins) == ("127.0.0.1", False, [])


def test_serving_reads_matchers_and_aliases_by_name():
    config = ServeConfig.build(None, (), {"matchers": ["v1=a", "v2=b"], "aliases": ["live={v1: 90, v2: 10}"]})
    assert config.matchers == {"v1": "a", "v2": "b"}
    assert config.aliases == {"live": {"v1": 90.0, "v2": 10.0}}


def test_serving_reads_a_file_of_models_with_and_without_base_model():
    file = ModelsFile.check({"matchers": {"v1": "a", "v2": {"matcher": "b", "base_model": "c"}}})
    assert file.matchers["v1"] == "a"
    assert file.matchers["v2"].base_model == "c"
    with pytest.raises(ConfigError, match="matchers is missing"):
        ModelsFile.check({})


@pytest.mark.parametrize("values", [{"port": 70_000}, {"workers": 0}, {"timeout": 0}, {"review_sample": 1.5}])
def test_serving_refuses_values_out_of_range(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        ServeConfig.check({"matcher": "m"} | values)
