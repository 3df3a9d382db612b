"""Settings of the matcher commands: descriptions and valid defaults."""

from __future__ import annotations

import pytest

from flipkd import command_config
from flipkd.command_config import MatchConfig, ServeConfig, SplitConfig
from flipkd.errors import ConfigError
from flipkd.settings import type_members

MODELS = [getattr(command_config, name) for name in command_config.__all__]
REQUIRED = {"matcher": "m", "files": ["a.csv"], "to": "merged", "version": 1}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_command_settings_have_descriptions_and_valid_defaults(model):
    assert all(field.description for field in model.model_fields.values())
    required = {name: field for name, field in model.model_fields.items() if field.is_required()}
    choices = {name: type_members(field.annotation)[0] for name, field in required.items()}
    choices = {name: choice for name, choice in choices.items() if isinstance(choice, str)}
    needed = {name: choices.get(name, REQUIRED.get(name, "x")) for name in required}
    defaults = model.check(needed).model_dump()
    assert model.check(defaults).model_dump() == defaults


@pytest.mark.parametrize(
    "model, wrong",
    [
        (SplitConfig, {"pairs": "p", "validation": 1.5}),
        (SplitConfig, {"pairs": "p", "by": "label"}),
        (MatchConfig, {"matcher": "m", "batch_size": 0}),
        (ServeConfig, {"matcher": "m", "port": 70_000}),
    ],
)
def test_command_settings_error_names_a_value_out_of_range(model, wrong):
    *_, (name, value) = wrong.items()
    with pytest.raises(ConfigError, match=f"^{name} is {value!r}; write "):
        model.check(wrong)
