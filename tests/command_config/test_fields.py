"""Fields that the settings of several commands share."""

from __future__ import annotations

import pytest

from flipkd import command_config
from flipkd.command_config import EvaluateConfig, MatchConfig, SplitConfig
from flipkd.errors import ConfigError
from flipkd.settings import Settings

MODELS = [getattr(command_config, name) for name in command_config.__all__]


def test_argument_fields_are_positional_and_other_fields_are_options():
    assert MatchConfig.is_argument("pairs")
    assert not MatchConfig.is_argument("matcher")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_fields_of_every_command_have_a_description_and_refuse_unknown_names(model):
    assert issubclass(model, Settings)
    assert all(field.description for field in model.model_fields.values())
    required = {name: "x" for name, field in model.model_fields.items() if field.is_required()}
    with pytest.raises(ConfigError, match="no setting is called 'no_such_setting'"):
        model.check(required | {"no_such_setting": 1})


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_share_is_a_number_from_0_to_1(share):
    with pytest.raises(ConfigError, match=f"validation is {share}"):
        SplitConfig.check({"pairs": "p.csv", "validation": share})


def test_batch_size_is_at_least_1_or_chosen_by_the_device():
    given = {"matcher": "m", "test_file": "t.csv"}
    assert EvaluateConfig.check(given).batch_size is None
    with pytest.raises(ConfigError, match="batch_size is 0"):
        EvaluateConfig.check(given | {"batch_size": 0})
