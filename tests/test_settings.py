"""Parsing of settings: precedence, YAML values, error messages."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from flipkd.config import CompareConfig, TeachConfig, TrainConfig
from flipkd.errors import ConfigError, UsageError
from flipkd.settings import Settings

FILES = {"train_file": "train.csv", "validation_file": "validation.csv"}


class Earlier(Settings):
    rate: float = Field(0.5)


class Later(Earlier):
    left_out_at_default: ClassVar = frozenset({"patience", "steps"})
    patience: int | None = Field(None)
    steps: list[dict[str, int]] = Field([])


def build(*assignments: str, **given) -> TrainConfig:
    return TrainConfig.build(None, assignments, FILES | given)


def refusal(*assignments: str, config=None, **given) -> str:
    with pytest.raises(ConfigError if config else UsageError) as caught:
        TrainConfig.build(config, assignments, FILES | given)
    return str(caught.value)


# What identifies a run


def test_identity_leaves_later_settings_out_at_their_default():
    before = Earlier.check({"rate": 0.1}).identity()
    assert before == {"rate": 0.1}
    assert Later.check({"rate": 0.1}).identity() == Later.check({"rate": 0.1, "steps": []}).identity() == before
    assert Later.check({"patience": 3}).identity() == {"rate": 0.5, "patience": 3}
    assert Later.check({"steps": [{"a": 1}]}).identity(exclude=["rate"]) == {"steps": [{"a": 1}]}


# What wins


def test_build_precedence(yaml_file):
    path = yaml_file("seed: 1\nsave_steps: 1\nlora_r: 1\ntrain_file: yaml.csv\n")
    built = TrainConfig.build(path, ["lora_r=3"], {"save_steps": 2, "lora_r": 2, "validation_file": "v.csv"})
    assert (built.logging_steps, built.seed, built.save_steps, built.lora_r) == (10, 1, 2, 3)
    assert (built.train_file, built.validation_file) == ("yaml.csv", "v.csv")


def test_build_ignores_options_that_were_not_given(yaml_file):
    built = TrainConfig.build(yaml_file("seed: 7"), (), FILES | {"seed": None, "columns": None})
    assert (built.seed, built.columns) == (7, None)


def test_build_raises_config_error_for_the_file_and_usage_error_for_options(yaml_file):
    path = yaml_file("seed: x\n")
    assert refusal(config=path).startswith(f"{path}: seed is 'x'")
    for arguments, options in ((["seed=y"], {}), ([], {"seed": "y"})):
        with pytest.raises(UsageError, match=r"^seed is 'y'"):
            TrainConfig.build(path, arguments, FILES | options)


def test_build_uses_the_last_assignment():
    assert build("seed=1", "seed=2").seed == 2


def test_build_accepts_an_equals_sign_in_a_value():
    assert build("template.question=is a = b?").template == {"question": "is a = b?"}


# Parts of a mapping


def test_build_changes_one_objective_weight():
    assert build("objectives.in_batch_kl=0").objectives == {
        "answer_cross_entropy": 1.0,
        "pairwise_pref_kl": 1.0,
        "margin_hinge": 1.0,
        "in_batch_kl": 0.0,
    }


def test_build_sets_one_argument_and_keeps_the_default_weight():
    objectives = build("objectives.margin_hinge.margin=0.3").objectives
    assert objectives["margin_hinge"] == {"weight": 1.0, "margin": 0.3}
    assert objectives["answer_cross_entropy"] == 1.0


def test_build_merges_arguments_of_file_and_assignments(yaml_file):
    path = yaml_file("objectives:\n  margin_hinge: 0.5\n  in_batch_kl: {weight: 2, temperature: 0.1}\n")
    objectives = TrainConfig.build(
        path, ["objectives.margin_hinge.margin=0.3", "objectives.in_batch_kl.temperature=0.2"], FILES
    ).objectives
    assert objectives == {
        "margin_hinge": {"weight": 0.5, "margin": 0.3},
        "in_batch_kl": {"weight": 2, "temperature": 0.2},
    }


def test_build_replaces_the_default_by_a_given_mapping():
    assert build("objectives={margin_hinge: 1}").objectives == {"margin_hinge": 1.0}


def test_build_does_not_change_the_default():
    before = TrainConfig.check(FILES).model_dump()
    build("objectives.in_batch_kl=0", "objectives.margin_hinge.margin=0.3", "template.no=nein", "template.yes=ja")
    build().objectives["in_batch_kl"] = 9
    assert TrainConfig.check(FILES).model_dump() == before


# What YAML becomes


@pytest.mark.parametrize(
    "text, value",
    [
        ("2e-4", 2e-4),
        ("2E-4", 2e-4),
        ("1.5e3", 1500.0),
        (".5e-3", 5e-4),
        ("0.0002", 2e-4),
        ("1", 1.0),
        ("'1e-3'", 1e-3),
    ],
)
def test_build_parses_number_formats(yaml_file, text, value):
    assert build(f"learning_rate={text}").learning_rate == value
    assert TrainConfig.build(yaml_file(f"learning_rate: {text}"), (), FILES).learning_rate == value


def test_build_parses_untyped_numbers():
    assert build("training_arguments.adam_epsilon=1e-8").training_arguments == {"adam_epsilon": 1e-8}
    assert build("objectives.in_batch_kl.temperature=5e-2").objectives["in_batch_kl"]["temperature"] == 0.05


@given(value=st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_subnormal=False))
@settings(deadline=None, max_examples=50)
def test_build_round_trips_python_floats(value):
    assert build(f"training_arguments.x={value!r}").training_arguments == {"x": value}


def test_build_parses_lists_strings_and_null():
    assert build("readout_layers=[-1,3]").readout_layers == [-1, 3]
    assert build("lora_target_modules=[q_proj, v_proj]").lora_target_modules == ["q_proj", "v_proj"]
    assert build("filter_quantile=null").filter_quantile is None
    assert build("filter_quantile=").filter_quantile is None
    assert build("teacher=a folder").teacher == "a folder"


def test_read_value_keeps_no_and_yes_keys_as_strings(yaml_file):
    path = yaml_file("template:\n  no: nein\n  yes: ja\ntraining_arguments: {bf16: no, tf32: yes}\n")
    built = TrainConfig.build(path, (), FILES)
    assert built.template == {"no": "nein", "yes": "ja"}
    assert built.training_arguments == {"bf16": False, "tf32": True}


def test_build_accepts_an_empty_file(yaml_file):
    assert TrainConfig.build(yaml_file("# nothing yet\n"), (), FILES) == TrainConfig.check(FILES)


def test_settings_round_trip_through_yaml():
    built = build("objectives.margin_hinge.margin=0.3", "readout_layers=[1]", "filter_quantile=null")
    assert TrainConfig.check(built.model_dump(mode="json")) == built


# What is refused


@pytest.mark.parametrize(
    "assignment, start",
    [
        (
            "lerning_rate=1",
            "no setting is called 'lerning_rate'; did you mean 'learning_rate'? nearest of the ",
        ),
        ("objective.x=1", "no setting is called 'objective'; did you mean 'objectives'?"),
        ("=1", "no setting is called ''; allowed: model_name"),
        ("reading=jiont", "reading is 'jiont'; write 'joint', 'separate' or 'blocked'"),
        ("seed=-1", "seed is -1; write a number of at least 0"),
        ("seed=x", "seed is 'x'; write a whole number"),
        ("filter_quantile=0.5", "filter_quantile is 0.5; write a number below 0.5"),
        ("learning_rate=.nan", "learning_rate is nan; write a finite number"),
        ("learning_rate=.inf", "learning_rate is inf; write a finite number"),
        ("readout_layers=[]", "readout_layers is []; write 1 or more values"),
        ("readout_layers=[1, x]", "readout_layers.1 is 'x'; write a whole number"),
        ("readout_layers.0=1", "readout_layers is {'0': 1}; write a list, such as [a, b]"),
        ("template.no=no", "template.no is False; write a text in quotes"),
        ("template=3", "template is 3; write a mapping, such as {key: value}"),
        ("objectives.x=high", "objectives.x is 'high'; write a number, or a mapping, such as"),
        (
            "lora_target_modules=3",
            "lora_target_modules is 3; write 'all-linear', or a list, such as [a, b]",
        ),
        ("lora_target_modules=[a, 3]", "lora_target_modules is ['a', 3]; write 'all-linear', or "),
        ("output_dir=2024-01-02", "output_dir is datetime.date(2024, 1, 2); write a text in quotes"),
        ("output_dir=2024-13-02", "--set output_dir: '2024-13-02' is not a YAML value; quote it"),
        ("readout_layers=[1", "--set readout_layers: '[1' is not a YAML value; quote it"),
        ("seed=!!python/object/apply:os.getpid []", "--set seed: '!!python/object/apply:os.getpid []' is not a YAML"),
        ("seed", "--set 'seed' has no '='; write --set KEY=VALUE"),
    ],
)
def test_build_error_names_key_value_and_allowed_values(assignment, start):
    assert refusal(assignment).startswith(start)


def test_build_reports_the_same_error_for_options_and_files(yaml_file):
    assert refusal(seed=-1).startswith("seed is -1; write a number of at least 0")
    assert ": seed is -1; write a number of at least 0" in refusal(config=yaml_file("seed: -1"))
    assert "did you mean 'seed'" in refusal(config=yaml_file("sead: 1"))


def test_build_error_shortens_a_long_value():
    assert "x" * 80 not in refusal("seed=" + "x" * 500)
    assert "x" * 80 not in refusal("x" * 500)
    assert "[" * 80 not in refusal("seed=" + "[" * 5000)


def test_build_error_names_a_missing_setting():
    with pytest.raises(
        UsageError, match=r"^train_file is missing; give --train_file, or write it in the YAML file of --config"
    ):
        TrainConfig.build()
    with pytest.raises(UsageError, match=r"^validation_file is missing"):
        TrainConfig.build(given={"train_file": "a.csv"})
    with pytest.raises(ConfigError, match=r"^test_file is missing"):
        CompareConfig.check(FILES)
    assert TeachConfig.check({"train_file": "a.csv"}).validation_file is None


def test_check_takes_paths_and_require_takes_settings_only():
    config = TeachConfig.check({"train_file": Path("data") / "train.csv", "output_dir": Path("teacher")})
    assert (config.train_file, config.output_dir) == ("data/train.csv", "teacher")
    TeachConfig.require(config)
    for other in (FILES, TrainConfig.check(FILES | {"teacher": "teacher"})):
        with pytest.raises(
            UsageError, match=r"of type \w+; write flipkd\.config\.TeachConfig\.check\(\{SETTING: VALUE\}\)"
        ):
            TeachConfig.require(other)
