"""TrainConfig: hints for settings that are fields of transformers' TrainingArguments."""

from __future__ import annotations

import pytest

from flipkd.config import TrainConfig
from flipkd.config.train import TRAINER_NAMES
from flipkd.errors import ConfigError
from flipkd.training.arguments import NOT_HERE, TrainingArguments


def test_trainer_names_are_fields_that_may_be_set():
    assert TrainingArguments.__dataclass_fields__.keys() - NOT_HERE.keys() >= TRAINER_NAMES
    assert not TRAINER_NAMES & TrainConfig.model_fields.keys()


def test_a_field_of_training_arguments_is_told_its_place():
    files = {"train_file": "train.csv", "validation_file": "validation.csv"}
    with pytest.raises(
        ConfigError, match=r"no setting is called 'max_steps'; write --training_arguments\.max_steps VALUE$"
    ):
        TrainConfig.check(files | {"max_steps": 8})
