"""YAML values: rejected files, numbers, bounded time."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from flipkd.config import TrainConfig
from flipkd.errors import ConfigError

FILES = {"train_file": "train.csv", "validation_file": "validation.csv"}


def build(*assignments: str) -> TrainConfig:
    return TrainConfig.build(None, assignments, FILES)


def refusal(*, config) -> str:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.build(config, (), FILES)
    return str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "seed", "3", "1: 2\n", "[]"])
def test_read_yaml_rejects_a_file_that_is_not_a_mapping(yaml_file, text):
    path = yaml_file(text)
    assert refusal(config=path) == f"{path}: not a YAML mapping; write one `key: value` per line"


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
def test_read_yaml_rejects_invalid_yaml(yaml_file, text):
    path = yaml_file(text)
    message = refusal(config=path)
    assert message.startswith(f"{path}: not readable as YAML (")
    assert "\n" not in message


def test_read_yaml_names_a_missing_file(tmp_path):
    assert refusal(config=tmp_path / "nowhere.yaml") == f"{tmp_path}/nowhere.yaml: no such file"
    assert refusal(config=tmp_path) == f"{tmp_path}: is a folder; give a YAML file of settings"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("seed: 1\n\tlora_r: 4\n", "line 2, column 1: found character"),
        ("seed: 1\nlora_r 4\nx: 1\n", "line 2, column 1: could not find expected ':'"),
    ],
)
def test_read_yaml_names_line_and_column(yaml_file, text, place):
    message = refusal(config=yaml_file(text))
    assert f"not readable as YAML ({place}" in message
    assert message.endswith("; write one `key: value` per line and indent with spaces")


@pytest.mark.parametrize("text", ["seed: 1\nseed: 2\n", "train_file: a\ntrain: {lora_r: 1, lora_r: 2}\n"])
def test_read_yaml_rejects_a_duplicate_key(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"duplicate key '(seed|lora_r)'"):
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
def test_read_yaml_rejects_alias_expansion(yaml_file, text):
    start = time.process_time()
    assert "its aliases (*name) expand to more than 20,000 values" in refusal(config=yaml_file(text))
    assert time.process_time() - start < 5


def test_read_yaml_accepts_aliases_and_merged_keys(yaml_file):
    text = "template: &t {left: A}\nobjectives: &o {margin_hinge: &w 0.5, in_batch_kl: *w}\n"
    config = TrainConfig.build(yaml_file(text), [], FILES)
    assert config.objectives == {"margin_hinge": 0.5, "in_batch_kl": 0.5}
    text = "x: &x {text1: a}\ncolumns: {<<: *x, text2: b}\n"
    assert "no setting is called 'x'" in refusal(config=yaml_file(text))


@pytest.mark.parametrize(
    "value",
    ["1" * 100_000, "1." + "2" * 100_000, "1" * 50_000 + "e", "1" + ":1" * 50_000, "0x" + "f" * 90_000, "1_" * 50_000],
)
def test_read_value_treats_an_endless_number_as_text(yaml_file, value):
    start = time.process_time()
    for config, arguments in (
        (yaml_file(f"model_name_or_path: {value}\n"), ()),
        (None, (f"model_name_or_path={value}",)),
    ):
        assert TrainConfig.build(config, arguments, FILES).model_name_or_path == value
    assert time.process_time() - start < 5


@pytest.mark.parametrize("text", ["1e-8", "1.e5", ".5e3", "-1.25E+2", "3e0"])
def test_read_value_parses_exponents(text):
    assert build(f"training_arguments.x={text}").training_arguments["x"] == float(text)


@pytest.mark.parametrize("text", ["1e", "e5", ".e5", "1.2.3e4", "1e5x"])
def test_read_value_keeps_other_texts(text):
    assert build(f"training_arguments.x={text}").training_arguments["x"] == text


def test_read_yaml_rejects_a_too_large_file(yaml_file):
    assert "a file of settings has at most 262,144" in refusal(config=yaml_file("# " + "x" * 300_000))
