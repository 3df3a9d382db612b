"""Settings of the commands that train: descriptions, defaults, nested settings of a comparison."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from flipkd import config as module
from flipkd.comparison.entries import short_hash
from flipkd.config import CompareConfig, TrainConfig
from flipkd.errors import UsageError
from flipkd.settings import Settings

FILES = {"train_file": "train.csv", "validation_file": "validation.csv"}


def test_compare_config_starts_from_the_defaults_of_train_and_teach():
    arguments = [
        "train.objectives.margin_hinge=0.5",
        "train.objectives.in_batch_kl.temperature=0.1",
        "teach.max_length=64",
    ]
    config = CompareConfig.build(None, arguments, FILES | {"test_file": "c.csv"})
    train = TrainConfig.check({**FILES, **config.train})
    assert (
        train.objectives
        == TrainConfig.build(None, ["objectives.margin_hinge=0.5", arguments[1][6:]], FILES).objectives
    )
    assert train.objectives["answer_cross_entropy"] == 1
    assert config.teach == {"max_length": 64}
    assert CompareConfig.check(FILES | {"test_file": "c.csv"}).train == {}
    with pytest.raises(UsageError, match="data is 'a/b'"):
        CompareConfig.build(None, ["data=a/b"], FILES | {"test_file": "c.csv"})


# All settings


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig.check(FILES).seed = 3


MODELS = ("TeachConfig", "StudentConfig", "TrainConfig", "CompareConfig", "DemoConfig")


@pytest.mark.parametrize("name", MODELS)
def test_settings_have_descriptions_and_valid_defaults(name):
    model = getattr(module, name)
    assert issubclass(model, Settings)
    assert all(field.description for field in model.model_fields.values())
    required = {key: "a.csv" for key, field in model.model_fields.items() if field.is_required()}
    defaults = model.check(required).model_dump()
    assert model.check(defaults).model_dump() == defaults


@pytest.mark.parametrize("name, expected", [("TeachConfig", "931f96e2"), ("TrainConfig", "fd842de7")])
def test_train_config_identity_of_the_defaults_still_finds_stored_results(name, expected):
    """A new setting belongs into `left_out_at_default`; a changed default changes this hash, and results are computed again."""
    model = getattr(module, name)
    names = [key for key, field in model.model_fields.items() if field.is_required()]
    identity = model.check(dict.fromkeys(names, "a.csv")).identity(exclude=names)
    assert short_hash(identity) == expected


def test_settings_classes_are_all_in_the_table_of_models():
    found = {name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, Settings)}
    assert found == set(MODELS)
