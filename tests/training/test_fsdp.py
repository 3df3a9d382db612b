"""What accelerate's and transformers' settings of FSDP give, and what of them is refused in words."""

import os
from pathlib import Path

import pytest

from flipkd.errors import ConfigError
from flipkd.training.arguments import training_arguments
from flipkd.training.fsdp import LAUNCHED, hidden_from_libraries, is_requested, shards_base


@pytest.fixture
def of_two(monkeypatch):
    """This process is one of two that a launcher started."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def launched(monkeypatch, of_two):
    """accelerate launch has set what its configuration for FSDP2 asks for."""
    for name in [name for name in os.environ if name.startswith("FSDP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(LAUNCHED, "true")
    monkeypatch.setenv("FSDP_VERSION", "2")


def test_is_requested_without_fsdp(monkeypatch):
    monkeypatch.delenv(LAUNCHED, raising=False)
    assert not is_requested({})
    monkeypatch.setenv(LAUNCHED, "false")
    assert not is_requested({"fsdp": "", "fsdp_config": None})


def test_is_requested_by_the_launcher(launched):
    assert is_requested({})


@pytest.mark.parametrize("value", [True, "full_shard", "full_shard auto_wrap"])
def test_is_requested_by_an_argument_that_transformers_does_not_get(monkeypatch, of_two, tmp_path, value):
    monkeypatch.delenv(LAUNCHED, raising=False)
    settings = {"version": 2}
    arguments = {"fsdp": value, "fsdp_config": settings}
    assert is_requested(arguments)
    assert settings == {"version": 2}
    monkeypatch.delenv("WORLD_SIZE")  # transformers would wait for the other process
    with pytest.raises(ConfigError, match="FSDP divides the base model among processes, and there is one"):
        training_arguments(tmp_path, arguments)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("VERSION", "1", "fsdp_version is 1; set it to 2"),
        ("RESHARD_AFTER_FORWARD", "false", "fsdp_reshard_after_forward is false"),
        ("OFFLOAD_PARAMS", "true", "fsdp_offload_params is not supported"),
        ("ACTIVATION_CHECKPOINTING", "true", "flipkd's activation_checkpointing to true"),
        ("AUTO_WRAP_POLICY", "SIZE_BASED_WRAP", "set TRANSFORMER_BASED_WRAP"),
        ("IGNORED_MODULES", "lm_head", "fsdp_ignored_modules is not supported"),
        ("AUTO_WRAP_POLICY", "NEVER", "accelerate refuses the FSDP configuration: Invalid auto wrap policy"),
    ],
)
def test_is_requested_refuses_what_flipkd_does_not_do(launched, monkeypatch, name, value, message):
    monkeypatch.setenv(f"FSDP_{name}", value)
    with pytest.raises(ConfigError, match=message):
        is_requested({})


@pytest.mark.parametrize("arguments", [{"fsdp": "offload"}, {"fsdp": True, "fsdp_config": {"version": 1}}])
def test_is_requested_refuses_the_same_of_an_argument(of_two, arguments):
    with pytest.raises(ConfigError, match=r"fsdp_offload_params|fsdp_version"):
        is_requested(arguments)


@pytest.mark.parametrize("setting", ["load_in_4bit", "torch_compile"])
def test_shards_base_refuses_settings_that_do_not_work_with_it(launched, make_config, setting):
    assert shards_base(make_config())
    with pytest.raises(ConfigError, match=f"FSDP does not work with {setting}"):
        shards_base(make_config(**{setting: True}))


def test_hidden_from_libraries_restores_the_environment(launched):
    with pytest.raises(ValueError, match="inside"), hidden_from_libraries():
        assert LAUNCHED not in os.environ
        raise ValueError("inside")
    assert os.environ[LAUNCHED] == "true"


def test_fsdp_configuration_of_the_docs_is_the_tested_one():
    page = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text(encoding="utf-8")
    configuration = (Path(__file__).parent / "fsdp.yaml").read_text(encoding="utf-8")
    assert f"```yml\n{configuration}```" in page
