"""TrainingArguments are transformers' own, but for what flipkd needs and what it refuses."""

import pytest
from transformers import TrainingArguments

from flipkd.errors import ConfigError
from flipkd.training.arguments import training_arguments


def test_training_arguments_are_transformers_own(tmp_path):
    assert training_arguments(tmp_path, {"optim": "sgd", "report_to": "none"}).optim == "sgd"
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        training_arguments(tmp_path, {"learning_rat": 1})
    with pytest.raises(ConfigError, match="transformers refuses"):
        training_arguments(tmp_path, {"eval_strategy": "sometimes"})


def test_several_gpus_do_not_make_several_modules(tmp_path, monkeypatch):
    monkeypatch.setattr(
        TrainingArguments,
        "_setup_devices",
        property(lambda self: self.__dict__.update(_n_gpu=4, distributed_state=None)),
    )
    assert TrainingArguments(output_dir=str(tmp_path)).n_gpu == 4
    arguments = training_arguments(tmp_path, {})
    monkeypatch.undo()
    assert arguments._n_gpu == 1


@pytest.mark.parametrize("name", ["output_dir", "remove_unused_columns", "label_names", "logging_nan_inf_filter"])
def test_what_flipkd_needs_cannot_be_set(tmp_path, name):
    with pytest.raises(ConfigError, match=f"training_arguments.{name} cannot be set"):
        training_arguments(tmp_path, {name: "x"})


def test_defaults_of_ours_give_way_to_what_is_given(tmp_path):
    default = training_arguments(tmp_path, {})
    assert (default.save_strategy, default.disable_tqdm) == ("steps", False)
    given = training_arguments(tmp_path, {"save_strategy": "no", "disable_tqdm": True})
    assert (given.save_strategy, given.disable_tqdm) == ("no", True)
