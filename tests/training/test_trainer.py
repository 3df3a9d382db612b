"""A killed run goes on and ends bit for bit where an unbroken one ends; damaged checkpoints are passed over."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flipkd.config import TrainConfig
from flipkd.training.checkpoints import last_valid_checkpoint
from flipkd.training.trainer import METRICS, totals

CHILD = Path(__file__).parent / "run_child.py"
TESTS = CHILD.parents[1]


def run(config, *, step=0, place="step", number=signal.SIGKILL) -> int:
    """Exit code of a run in a process of its own, killed at `step` unless that is 0."""
    arguments = [json.dumps(config.model_dump(mode="json")), str(step), place, str(int(number))]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, CHILD, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 75, -9), done.stderr[-3000:]
    return done.returncode


def losses(folder: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def adapter(folder: Path):
    return load_file(folder / "matcher" / "adapter" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def unbroken(base_models, tmp_path_factory):
    from flipkd.config import TrainConfig

    folder = tmp_path_factory.mktemp("unbroken") / "run"
    config = TrainConfig.check(
        {
            "train_file": "train.csv",
            "validation_file": "validation.csv",
            "output_dir": str(folder),
            "model_name_or_path": str(base_models["llama"]),
            "dtype": "float32",
            "max_text_length": 16,
            "lora_r": 4,
            "lora_dropout": 0.1,  # so that the state of the random generator matters
            "readout_r": 8,
            "learning_rate": 1e-2,
            "readout_learning_rate": 2e-2,
            "num_train_epochs": 3,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "logging_steps": 1,
            "save_steps": 4,  # 6 updates an epoch: checkpoints fall inside epochs
            "save_total_limit": 5,
            "swap_texts": True,
            "augment_texts": 0.5,
        }
    )
    assert run(config) == 0
    return config


def test_what_is_read_learns_at_its_own_rate(unbroken, tmp_path):
    from flipkd.training.run import fresh_student

    still = unbroken.model_copy(update={"output_dir": str(tmp_path / "run"), "readout_learning_rate": 1e-20})
    assert run(still) == 0
    student, contract = fresh_student(still)
    start = {name: p for name, p in student.model.named_parameters() if "lora_A" in name}
    end = {name.replace("weight", "default.weight"): tensor for name, tensor in adapter(tmp_path / "run").items()}
    unmoved = {name for name, parameter in start.items() if torch.equal(parameter, end[name])}
    assert len(contract.readout_places) == 1
    assert {name.partition(".lora_A")[0].removeprefix("base_model.model.") for name in unmoved} == set(
        contract.readout_places
    )


def test_killed_runs_end_bit_for_bit_where_an_unbroken_one_ends(unbroken, tmp_path):
    config = unbroken.model_copy(update={"output_dir": str(tmp_path / "run")})
    assert run(config, step=3) == -9, "before the first checkpoint"
    assert run(config, step=10) == -9, "inside the second epoch"
    assert run(config, step=12, place="before manifest") == -9, "with a checkpoint that was not sealed"
    assert last_valid_checkpoint(Path(config.output_dir)).name == "checkpoint-8"
    assert run(config) == 0
    ours, theirs = adapter(Path(config.output_dir)), adapter(Path(unbroken.output_dir))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert losses(Path(config.output_dir)) == losses(Path(unbroken.output_dir))
    assert [step for step, _ in losses(Path(config.output_dir))] == list(range(1, 19))


@pytest.mark.parametrize("totals_written", [True, False])
def test_a_run_killed_behind_its_last_step_makes_no_other(unbroken, tmp_path, totals_written):
    folder = tmp_path / "run"
    shutil.copytree(unbroken.output_dir, folder)
    shutil.rmtree(folder / "matcher")
    if not totals_written:
        lines = (folder / METRICS).read_text().splitlines(keepends=True)
        (folder / METRICS).write_text("".join(lines[:-1]) + lines[-1][:20])  # torn
    before = (folder / METRICS).read_text()
    assert ("train_runtime" in totals(folder / METRICS)) == totals_written
    assert run(unbroken.model_copy(update={"output_dir": str(folder)})) == 0
    ours, theirs = adapter(folder), adapter(Path(unbroken.output_dir))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (folder / METRICS).read_text() == before
    assert ("Training took" in (folder / "matcher" / "README.md").read_text()) == totals_written


def test_a_signal_saves_and_stops_with_75_and_the_run_goes_on(unbroken, tmp_path):
    config = unbroken.model_copy(update={"output_dir": str(tmp_path / "run")})
    assert run(config, step=6, number=signal.SIGTERM) == 75
    assert last_valid_checkpoint(Path(config.output_dir)).name == "checkpoint-7"
    assert run(config) == 0
    ours, theirs = adapter(Path(config.output_dir)), adapter(Path(unbroken.output_dir))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_damaged_file_makes_the_newest_checkpoint_pass_over(unbroken, tmp_path, caplog):
    for file in sorted((Path(unbroken.output_dir) / "checkpoint-18").iterdir()):
        for damage in ("missing", "cut", "flipped", "empty"):
            copy = tmp_path / "copy"
            shutil.copytree(unbroken.output_dir, copy)
            target, content = copy / "checkpoint-18" / file.name, file.read_bytes()
            target.unlink()
            if damage == "cut":
                target.write_bytes(content[: len(content) // 2])
            elif damage == "flipped":
                middle = len(content) // 2
                target.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            elif damage == "empty":
                target.write_bytes(b"")
            caplog.clear()
            assert last_valid_checkpoint(copy).name == "checkpoint-16", (file.name, damage)
            assert "skipped checkpoint-18" in caplog.text
            shutil.rmtree(copy)


def test_metrics_hold_every_objective(unbroken):
    lines = [json.loads(line) for line in (Path(unbroken.output_dir) / METRICS).read_text().splitlines()]
    for line in lines[:-1]:
        parts = sum(line[name] for name in TrainConfig.model_fields["objectives"].default)
        assert line["loss"] == pytest.approx(parts, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "more", "passes"),
    [
        ({}, {}, 4),
        ({"reading": "separate"}, {}, 3 * 4),  # the head, the pairs, the texts
        ({"reading": "separate"}, {"activation_checkpointing": True}, 2 * 2 * 4),  # the pairs, the texts, both again
        ({"reading": "separate", "objectives": {"answer_cross_entropy": 1.0}}, {}, 4),
        ({"dtype": "bfloat16", "learning_rate": 1e-3}, {"activation_checkpointing": True}, 2 * 4),
        (
            {"dtype": "bfloat16", "learning_rate": 1e-3, "reading": "blocked"},
            {"activation_checkpointing": True},
            2 * 4,
        ),
    ],
)
def test_head_and_checkpointing_change_no_loss_but_what_is_computed(
    make_config, table, tmp_path, changes, more, passes
):
    from flipkd.training import trainer
    from flipkd.training.module import DistillationModule
    from flipkd.training.run import fresh_student, run_objectives

    config, seen = make_config("gemma3", lora_dropout=0.0, **changes), []

    def fit(name, **more):
        student, _ = fresh_student(config)
        student.language_model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: seen.append(name))
        module = DistillationModule(student, run_objectives(config, table, table))
        arguments = {"max_steps": 4, "logging_steps": 1, "save_strategy": "no", "report_to": "none"} | more
        trainer.fit(module, table, output_dir=tmp_path / name, arguments=arguments)
        return [value for _, value in losses(tmp_path / name)]

    found = fit("found", **more)
    assert seen.count("found") == passes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_shares_head", lambda *_: False)
        whole = fit("whole")
    assert found == pytest.approx(whole, abs=1e-3)
    assert len(found) == 4
