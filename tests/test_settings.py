"""How settings are read: what wins over what, what YAML becomes, and what an error says."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.config import CompareConfig, TeachConfig, TrainConfig
from flipkd.errors import ConfigError

FILES = {"train_file": "train.csv", "validation_file": "validation.csv"}


@pytest.fixture
def yaml_file(tmp_path):
    """`yaml_file(text)` -> path of a file that holds it."""

    def write(text: str | bytes):
        path = tmp_path / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def build(*assignments: str, **given) -> TrainConfig:
    return TrainConfig.build(None, assignments, FILES | given)


def refusal(*assignments: str, config=None, **given) -> str:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.build(config, assignments, FILES | given)
    return str(caught.value)


# What wins


def test_defaults_then_yaml_then_options_then_set(yaml_file):
    path = yaml_file("seed: 1\nsave_steps: 1\nlora_r: 1\ntrain_file: yaml.csv\n")
    built = TrainConfig.build(path, ["lora_r=3"], {"save_steps": 2, "lora_r": 2, "validation_file": "v.csv"})
    assert (built.logging_steps, built.seed, built.save_steps, built.lora_r) == (10, 1, 2, 3)
    assert (built.train_file, built.validation_file) == ("yaml.csv", "v.csv")


def test_an_option_that_was_not_given_leaves_the_file_alone(yaml_file):
    built = TrainConfig.build(yaml_file("seed: 7"), (), FILES | {"seed": None, "columns": None})
    assert (built.seed, built.columns) == (7, None)


def test_the_last_of_two_assignments_wins():
    assert build("seed=1", "seed=2").seed == 2


def test_a_value_may_hold_an_equals_sign():
    assert build("template.question=is a = b?").template == {"question": "is a = b?"}


# Parts of a mapping


def test_one_weight_can_be_changed_and_the_others_stay():
    assert build("objectives.in_batch_kl=0").objectives == {
        "answer_cross_entropy": 1.0,
        "bernoulli_kd": 1.0,
        "margin_hinge": 1.0,
        "in_batch_kl": 0.0,
    }


def test_one_knob_keeps_the_default_weight():
    objectives = build("objectives.margin_hinge.margin=0.3").objectives
    assert objectives["margin_hinge"] == {"weight": 1.0, "margin": 0.3}
    assert objectives["answer_cross_entropy"] == 1.0


def test_knobs_add_up_over_file_and_assignments(yaml_file):
    path = yaml_file("objectives:\n  margin_hinge: 0.5\n  in_batch_kl: {weight: 2, temperature: 0.1}\n")
    objectives = TrainConfig.build(
        path, ["objectives.margin_hinge.margin=0.3", "objectives.in_batch_kl.temperature=0.2"], FILES
    ).objectives
    assert objectives == {
        "margin_hinge": {"weight": 0.5, "margin": 0.3},
        "in_batch_kl": {"weight": 2, "temperature": 0.2},
    }


def test_a_whole_mapping_replaces_the_default():
    assert build("objectives={margin_hinge: 1}").objectives == {"margin_hinge": 1.0}


def test_the_default_is_not_changed_for_the_next_run():
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
def test_numbers_as_people_write_them(yaml_file, text, value):
    assert build(f"learning_rate={text}").learning_rate == value
    assert TrainConfig.build(yaml_file(f"learning_rate: {text}"), (), FILES).learning_rate == value


def test_numbers_are_numbers_where_no_type_says_so():
    assert build("training_arguments.adam_epsilon=1e-8").training_arguments == {"adam_epsilon": 1e-8}
    assert build("objectives.in_batch_kl.temperature=5e-2").objectives["in_batch_kl"]["temperature"] == 0.05


@given(value=st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_subnormal=False))
@settings(deadline=None, max_examples=50)
def test_any_number_comes_through_as_python_writes_it(value):
    assert build(f"training_arguments.x={value!r}").training_arguments == {"x": value}


def test_lists_words_and_nothing():
    assert build("readout_layers=[-1,3]").readout_layers == [-1, 3]
    assert build("lora_target_modules=[q_proj, v_proj]").lora_target_modules == ["q_proj", "v_proj"]
    assert build("filter_quantile=null").filter_quantile is None
    assert build("filter_quantile=").filter_quantile is None
    assert build("teacher=a folder").teacher == "a folder"


def test_no_and_yes_are_words_as_keys_and_truth_values_as_values(yaml_file):
    path = yaml_file("template:\n  no: nein\n  yes: ja\ntraining_arguments: {bf16: no, tf32: yes}\n")
    built = TrainConfig.build(path, (), FILES)
    assert built.template == {"no": "nein", "yes": "ja"}
    assert built.training_arguments == {"bf16": False, "tf32": True}


def test_an_empty_file_is_no_settings(yaml_file):
    assert TrainConfig.build(yaml_file("# nothing yet\n"), (), FILES) == TrainConfig.check(FILES)


def test_settings_come_back_from_what_they_are_written_as():
    built = build("objectives.margin_hinge.margin=0.3", "readout_layers=[1]", "filter_quantile=null")
    assert TrainConfig.check(built.model_dump(mode="json")) == built


# What is refused


@pytest.mark.parametrize(
    "assignment, start",
    [
        ("lerning_rate=1", "no setting is called 'lerning_rate'; did you mean 'learning_rate'? allowed: train_file, "),
        ("objective.x=1", "no setting is called 'objective'; did you mean 'objectives'?"),
        ("=1", "no setting is called ''; allowed: train_file"),
        ("reading=jiont", "reading is 'jiont': Input should be 'joint', 'separate' or 'blocked'"),
        ("seed=-1", "seed is -1: Input should be greater than or equal to 0"),
        ("seed=x", "seed is 'x': Input should be a valid integer"),
        ("filter_quantile=0.5", "filter_quantile is 0.5: Input should be less than 0.5"),
        ("learning_rate=.nan", "learning_rate is nan: Input should be a finite number"),
        ("learning_rate=.inf", "learning_rate is inf: Input should be a finite number"),
        ("readout_layers=[]", "readout_layers is []: List should have at least 1 item"),
        ("readout_layers=[1, x]", "readout_layers.1 is 'x': Input should be a valid integer"),
        ("readout_layers.0=1", "readout_layers is {'0': 1}: Input should be a valid list"),
        ("template.no=no", "template.no is False: Input should be a valid string"),
        ("template=3", "template is 3: Input should be a valid dictionary"),
        ("objectives.x=high", "objectives.x is 'high': Input should be a valid number, unable to parse"),
        (
            "lora_target_modules=3",
            "lora_target_modules is 3: Input should be 'all-linear', or Input should be a valid",
        ),
        ("lora_target_modules=[a, 3]", "lora_target_modules is ['a', 3]: Input should be 'all-linear', or Input"),
        ("output_dir=2024-01-02", "output_dir is datetime.date(2024, 1, 2): Input should be a valid string"),
        ("output_dir=2024-13-02", "--set output_dir: '2024-13-02' is not a YAML value; quote it"),
        ("readout_layers=[1", "--set readout_layers: '[1' is not a YAML value; quote it"),
        ("seed=!!python/object/apply:os.getpid []", "--set seed: '!!python/object/apply:os.getpid []' is not a YAML"),
        ("seed", "--set 'seed' has no '='; write --set key=value"),
    ],
)
def test_a_bad_assignment_names_key_value_and_what_is_allowed(assignment, start):
    assert refusal(assignment).startswith(start)


def test_the_same_words_for_options_and_files(yaml_file):
    assert refusal(seed=-1).startswith("seed is -1: Input should be greater than or equal to 0")
    assert refusal(config=yaml_file("seed: -1")).startswith("seed is -1: Input should be greater than or equal to 0")
    assert "did you mean 'seed'" in refusal(config=yaml_file("sead: 1"))


def test_a_long_value_is_not_shown_whole():
    assert "x" * 80 not in refusal("seed=" + "x" * 500)
    assert "x" * 80 not in refusal("x" * 500)
    assert "[" * 80 not in refusal("seed=" + "[" * 5000)


def test_what_is_missing_is_named():
    with pytest.raises(
        ConfigError, match=r"^train_file is missing; give it as an option, in the YAML file or by --set"
    ):
        TrainConfig.build()
    with pytest.raises(ConfigError, match=r"^validation_file is missing"):
        TrainConfig.build(given={"train_file": "a.csv"})
    with pytest.raises(ConfigError, match=r"^test_file is missing"):
        CompareConfig.check(FILES)
    assert TeachConfig.check({"train_file": "a.csv"}).validation_file is None


@pytest.mark.parametrize("text", ["- a\n- b\n", "seed", "3", "1: 2\n", "[]"])
def test_a_file_that_is_no_mapping_is_refused(yaml_file, text):
    path = yaml_file(text)
    assert refusal(config=path) == f"{path}: must hold `key: value` lines"


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c",
        "a: [",
        "a: *b",
        "x: !!python/object/apply:os.getpid []",
        "{" * 5000,
        b"\xff\xfe",
        "a: 2024-13-45",
        "a\0",
    ],
)
def test_a_file_that_is_no_yaml_is_refused(yaml_file, text):
    path = yaml_file(text)
    told = refusal(config=path)
    assert told.startswith(f"{path}: not readable as YAML (")
    assert "\n" not in told


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert refusal(config=tmp_path / "nowhere.yaml") == f"{tmp_path}/nowhere.yaml: no such file"
    assert refusal(config=tmp_path).startswith(f"{tmp_path}: not readable as YAML (")


@pytest.mark.parametrize("text", ["seed: 1\nseed: 2\n", "train_file: a\ntrain: {lora_r: 1, lora_r: 2}\n"])
def test_a_key_that_stands_twice_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match="stands twice"):
        TrainConfig.build(tmp_path / "c.yaml")


def nested_aliases(of: str) -> str:
    names = "abcdefghij"
    lines = [f"a: &a {of}"]
    lines += [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise(names)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        nested_aliases("[lol, lol]"),
        nested_aliases("{x: 1}").replace("j: &j [", "train_file: ["),
        "a: &a {b: *a}",
        "a: &a [*a]",
        "a: &a {x: 1}\n" + "\n".join(f"k{i}: {{<<: [{', '.join(['*a'] * 200)}]}}" for i in range(60)),
        "train_file: &a [" + "1, " * 150 + "1]\nvalidation_file: [" + "*a, " * 150 + "*a]",
    ],
)
def test_aliases_that_multiply_are_refused_at_once(yaml_file, text):
    start = time.process_time()
    assert "its aliases (*name) stand for more than 20,000 values" in refusal(config=yaml_file(text))
    assert time.process_time() - start < 5


def test_aliases_and_merged_keys_still_serve(yaml_file):
    text = "template: &t {left: A}\nobjectives: &o {margin_hinge: &w 0.5, in_batch_kl: *w}\n"
    config = TrainConfig.build(yaml_file(text), [], FILES)
    assert config.objectives == {"margin_hinge": 0.5, "in_batch_kl": 0.5}
    text = "x: &x {text1: a}\ncolumns: {<<: *x, text2: b}\n"
    assert "no setting is called 'x'" in refusal(config=yaml_file(text))


@pytest.mark.parametrize(
    "value",
    ["1" * 100_000, "1." + "2" * 100_000, "1" * 50_000 + "e", "1" + ":1" * 50_000, "0x" + "f" * 90_000, "1_" * 50_000],
)
def test_a_number_without_end_is_a_text_and_takes_no_time(yaml_file, value):
    start = time.process_time()
    for config, words in ((yaml_file(f"model_name_or_path: {value}\n"), ()), (None, (f"model_name_or_path={value}",))):
        assert TrainConfig.build(config, words, FILES).model_name_or_path == value
    assert time.process_time() - start < 5


@pytest.mark.parametrize("text", ["1e-8", "1.e5", ".5e3", "-1.25E+2", "3e0"])
def test_exponents_of_every_form_are_numbers(text):
    assert build(f"training_arguments.x={text}").training_arguments["x"] == float(text)


@pytest.mark.parametrize("text", ["1e", "e5", ".e5", "1.2.3e4", "1e5x"])
def test_what_is_no_exponent_is_a_text(text):
    assert build(f"training_arguments.x={text}").training_arguments["x"] == text


def test_a_file_without_end_is_refused(yaml_file):
    assert "a file of settings has at most 262,144" in refusal(config=yaml_file("# " + "x" * 300_000))
