"""Stages: what each starts from, what they may not change, and that a killed run resumes to the same bits."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from killed_run import train_stages_until
from safetensors.numpy import load_file
from worlds import exit_code_of

from flipkd import Matcher, train
from flipkd.commands.stages import require_same_stages, stage_configs
from flipkd.config import TrainConfig
from flipkd.errors import ArtefactError, ConfigError
from flipkd.files import check_manifest

VECTORS = {"objectives": {"margin_hinge": 1.0, "in_batch_kl": 1.0}}
BACK = {"teacher": "previous_stage", "objectives": {"bernoulli_kd": 1.0}, "mined_ratio": 0.5}


def config_of(stages, **settings) -> TrainConfig:
    return TrainConfig.check({"train_file": "a.csv", "validation_file": "b.csv", "stages": stages} | settings)


def test_each_stage_starts_from_the_one_before():
    changes = [{"seed": 3}, {"objectives.margin_hinge": 0.0}, {"teacher": "previous_stage", "init_from": "x"}]
    del changes[2]["init_from"]
    config = config_of(changes, output_dir="out", init_from="old", teacher="t", num_train_epochs=4)
    first, second, last = stage_configs(config)
    assert [Path(stage.output_dir) for stage in (first, second, last)] == [
        Path("out/stage-1"),
        Path("out/stage-2"),
        Path("out"),
    ]
    assert [stage.init_from for stage in (first, second, last)] == ["old", "out/stage-1", "out/stage-2"]
    assert [stage.teacher for stage in (first, second, last)] == ["t", "t", "out/stage-2"]
    assert [stage.seed for stage in (first, second, last)] == [3, 0, 0]
    assert second.objectives == config.objectives | {"margin_hinge": 0.0}
    assert {stage.num_train_epochs for stage in (first, second, last)} == {4}
    assert not any(stage.stages for stage in (first, second, last))
    alone = config_of([])
    assert stage_configs(alone) == [alone]
    assert "stages" not in alone.identity()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"lora_r": 4}, "stage 2 sets lora_r, which must be the same in all stages"),
        ({"template.yes": " ja"}, "stage 2 sets template.yes"),
        ({"model_name_or_path": "x"}, "stage 2 sets model_name_or_path"),
        ({"stages": []}, "stage 2 sets stages"),
        ({"epochs": 1}, "stage 2: no setting is called 'epochs'"),
        ({"seed": "x"}, "stage 2: seed is 'x'"),
        ({"objectives": {"rkd": 1}}, "stage 2: no objective is called 'rkd'; did you mean"),
    ],
)
def test_a_stage_is_refused_by_its_number(changes, message):
    with pytest.raises(ConfigError, match=message):
        stage_configs(config_of([{}, changes]))


def test_stage_configs_refuses_an_unknown_objective_without_a_file():
    with pytest.raises(ConfigError, match=r"^no objective is called 'rkd_angel'; did you mean 'rkd_angle'\?"):
        stage_configs(config_of([], objectives={"rkd_angel": 1}))
    assert stage_configs(config_of([], objectives={"my.package:loss": 1}))  # imported only when it is used


def test_the_first_stage_has_no_stage_before_it():
    with pytest.raises(ConfigError, match="stage 1 has no stage before it"):
        stage_configs(config_of([{"teacher": "previous_stage"}]))
    with pytest.raises(ConfigError, match="stage 1 has no stage before it"):
        stage_configs(config_of([{"other_teachers": ["x", "previous_stage"]}], teacher="t"))


def test_the_matcher_of_the_stage_before_may_be_one_of_several_teachers():
    _, second = stage_configs(
        config_of([{}, {"teacher": "t", "other_teachers": ["u", "previous_stage"]}], output_dir="o")
    )
    assert (second.teacher, second.other_teachers) == ("t", ["u", "o/stage-1"])


def test_a_folder_with_another_number_of_stages_is_refused(tmp_path):
    require_same_stages(tmp_path / "new", 3)
    (tmp_path / "stage-1").mkdir()
    require_same_stages(tmp_path, 2)
    with pytest.raises(ArtefactError, match="another number of stages than 1"):
        require_same_stages(tmp_path, 1)
    (tmp_path / "run.json").write_text("{}")
    require_same_stages(tmp_path, 2)
    with pytest.raises(ArtefactError, match="another number of stages than 3"):
        require_same_stages(tmp_path, 3)


@pytest.fixture(scope="module")
def settings(base_models, pair_files, taught):
    return {
        **{f"{name}_file": pair_files[name] for name in ("train", "validation")},
        "model_name_or_path": str(base_models["llama"]),
        "teacher": taught,
        **{"dtype": "float32", "max_text_length": 16, "lora_r": 4, "readout_r": 8, "lora_dropout": 0.1},
        **{"num_train_epochs": 1, "save_steps": 2, "logging_steps": 1, "mined_ratio": 0.0, "learning_rate": 1e-2},
        "stages": [VECTORS, BACK],
    }


def adapter(folder: Path):
    return load_file(folder / "matcher" / "adapter" / "adapter_model.safetensors")


@pytest.mark.scenario("T1")
def test_a_run_of_stages_that_is_killed_anywhere_resumes_to_the_same_bits(settings, tmp_path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert exit_code_of(train_stages_until, settings | {"output_dir": str(unbroken)}, "", None) == 0
    settings |= {"output_dir": str(killed)}
    for folder, step in (
        ("stage-1", None),
        ("killed", 2),
    ):  # the matcher of a stage is written; a step of the last stage
        assert exit_code_of(train_stages_until, settings, folder, step) == -signal.SIGKILL, (folder, step)
        assert not (killed / "matcher").exists()
    assert exit_code_of(train_stages_until, settings, "", None) == 0
    adapters = [adapter(killed / stage) for stage in ("stage-1", ".")]
    for stage, found in zip(("stage-1", "."), adapters, strict=True):
        check_manifest(killed / stage / "matcher")
        expected = adapter(unbroken / stage)
        assert all(np.array_equal(expected[name], found[name]) for name in expected), stage
        assert (killed / stage / "validation.json").exists()
    assert not all(np.array_equal(adapters[0][name], adapters[1][name]) for name in adapters[0])
    logged = [(killed / stage / "metrics.jsonl").read_text() for stage in ("stage-1", ".")]
    assert ["margin_hinge" in log for log in logged] == [True, False]
    assert ["bernoulli_kd" in log for log in logged] == [False, True]
    last = json.loads((killed / "run.json").read_text())
    assert (last["config"]["init_from"], last["config"]["teacher"]) == (str(killed / "stage-1"),) * 2
    folder = train(TrainConfig.check(settings))  # finished: nothing is trained
    assert np.isfinite(Matcher.from_pretrained(folder).predict([("my card", "a card")])).all()
    for stages in ([BACK | {"teacher": settings["teacher"]}], [VECTORS, VECTORS, BACK]):
        with pytest.raises(ArtefactError, match="another number of stages than"):
            train(TrainConfig.check(settings | {"stages": stages}))
    changed = [VECTORS | {"learning_rate": 1e-3}, BACK]
    with pytest.raises(ArtefactError, match=r"learning_rate was 0\.01, now 0\.001"):
        train(TrainConfig.check(settings | {"stages": changed}))
