"""A killed run goes on and ends bit for bit where an unbroken one ends; damaged checkpoints are passed over."""

import json
import os
import shutil
import signal
import warnings
from pathlib import Path

import pytest
import torch
from killed_run import train_until
from safetensors.torch import load_file
from worlds import exit_code_of

from flipkd.config import TrainConfig
from flipkd.errors import ResourceError
from flipkd.training import trainer
from flipkd.training.checkpoints import last_valid_checkpoint
from flipkd.training.metrics_file import METRICS, read_totals
from flipkd.training.module import DistillationModule
from flipkd.training.run import fresh_student, run_objectives


def run(config, *, step=0, place="step", number=signal.SIGKILL) -> int:
    """Exit code of a run in a process of its own, killed at `step` unless that is 0."""
    code = exit_code_of(train_until, config.model_dump(mode="json"), step, place, int(number))
    assert code in (0, 75, -9, -15)
    return code


def losses(folder: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def adapter(folder: Path):
    return load_file(folder / "matcher" / "adapter" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def unbroken(base_models, tmp_path_factory):
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
            "average_weights": 0.8,  # of 18 steps: from the fifth on, so that checkpoint 8 has a part of the mean
        }
    )
    assert run(config) == 0
    return config


def test_create_optimizer_gives_the_readout_its_own_learning_rate(unbroken, tmp_path):
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


@pytest.mark.scenario("T1")
@pytest.mark.slow
def test_trainer_resumes_killed_runs_bit_identically(unbroken, tmp_path):
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


def test_fit_ends_with_the_averaged_weights(make_config, table, tmp_path):
    def fit(name, **changes):
        config = make_config(max_text_length=16, lora_dropout=0.0, **changes)
        module = DistillationModule(
            fresh_student(config)[0], run_objectives(config, table, table), average_weights=config.average_weights
        )
        arguments = {"max_steps": 5, "save_steps": 1, "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-2}
        trainer.fit(module, table, output_dir=tmp_path / name, arguments=arguments)
        return module.state_dict()

    averaged, last = fit("averaged", average_weights=0.6), fit("last")
    steps = [load_file(tmp_path / "last" / f"checkpoint-{step}" / "model.safetensors") for step in (3, 4, 5)]
    assert averaged.keys() == last.keys() == steps[0].keys(), "the module keeps no mean that it has applied"
    assert any(not torch.equal(averaged[name], last[name]) for name in last)
    for name, mean in averaged.items():
        torch.testing.assert_close(mean, torch.stack([step[name] for step in steps]).mean(dim=0), rtol=1e-5, atol=1e-7)
    saved = load_file(tmp_path / "averaged" / "checkpoint-5" / "model.safetensors")
    for name, weight in last.items():  # averaging changes no step
        assert torch.equal(saved[name], weight)


@pytest.mark.parametrize("totals_written", [True, False])
def test_fit_makes_no_further_step_after_a_kill_at_the_last_one(unbroken, tmp_path, totals_written):
    folder = tmp_path / "run"
    shutil.copytree(unbroken.output_dir, folder)
    manifest = (folder / "matcher" / "manifest.json").read_bytes()
    shutil.rmtree(folder / "matcher")
    if not totals_written:
        lines = (folder / METRICS).read_text().splitlines(keepends=True)
        (folder / METRICS).write_text("".join(lines[:-1]) + lines[-1][:20])  # torn
    before = (folder / METRICS).read_text()
    assert ("train_runtime" in read_totals(folder / METRICS)) == totals_written
    assert run(unbroken.model_copy(update={"output_dir": str(folder)})) == 0
    ours, theirs = adapter(folder), adapter(Path(unbroken.output_dir))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (folder / METRICS).read_text() == before
    assert (folder / "matcher" / "manifest.json").read_bytes() == manifest, "equal runs, equal hashes"


def test_trainer_resumes_with_changed_log_and_save_intervals(unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken.output_dir, folder)
    shutil.rmtree(folder / "matcher")
    for checkpoint in (8, 12, 16, 18):
        shutil.rmtree(folder / f"checkpoint-{checkpoint}")
    changed = {"output_dir": str(folder), "save_steps": 5, "logging_steps": 2}
    assert run(unbroken.model_copy(update=changed)) == 0
    assert {path.name for path in folder.glob("checkpoint-*")} == {f"checkpoint-{step}" for step in (4, 5, 10, 15, 18)}
    assert [step for step, _ in losses(folder)] == [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18]


@pytest.mark.scenario("T4")
def test_trainer_saves_on_a_signal_exits_with_75_and_resumes(unbroken, tmp_path):
    config = unbroken.model_copy(update={"output_dir": str(tmp_path / "run")})
    assert run(config, step=6, number=signal.SIGTERM) == 75
    assert last_valid_checkpoint(Path(config.output_dir)).name == "checkpoint-7"
    assert run(config) == 0
    ours, theirs = adapter(Path(config.output_dir)), adapter(Path(unbroken.output_dir))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.scenario("T4")
def test_trainer_stops_at_once_on_a_second_signal_but_finishes_a_checkpoint(unbroken, tmp_path):
    config = unbroken.model_copy(update={"output_dir": str(tmp_path / "run")})
    assert run(config, step=6, place="step, twice", number=signal.SIGTERM) == -signal.SIGTERM
    assert last_valid_checkpoint(Path(config.output_dir)).name == "checkpoint-4"
    assert run(config, step=8, place="before manifest", number=signal.SIGTERM) == 75
    assert last_valid_checkpoint(Path(config.output_dir)).name == "checkpoint-9"
    assert run(config) == 0
    ours, theirs = adapter(Path(config.output_dir)), adapter(Path(unbroken.output_dir))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert losses(Path(config.output_dir)) == losses(Path(unbroken.output_dir))


@pytest.mark.scenario("T2")
def test_trainer_skips_a_newest_checkpoint_with_any_damaged_file(unbroken, tmp_path, caplog):
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


def test_log_has_every_objective(unbroken):
    lines = [json.loads(line) for line in (Path(unbroken.output_dir) / METRICS).read_text().splitlines()]
    for line in lines[:-1]:
        parts = sum(line[name] for name in TrainConfig.model_fields["objectives"].default)
        assert line["loss"] == pytest.approx(parts, rel=1e-4)


@pytest.mark.slow
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
def test_trainer_has_equal_losses_with_cached_head_and_activation_checkpointing(
    make_config, table, tmp_path, changes, more, passes
):
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


def steps_until_a_fault(config, table, folder, **arguments):
    """A small run of its own with checkpoints at steps 2 and 4; raises what the fault makes of it."""
    module = DistillationModule(fresh_student(config)[0], run_objectives(config, table, table))
    usual = {"max_steps": 6, "save_steps": 2, "per_device_train_batch_size": 4, "report_to": "none"}
    usual |= {"disable_tqdm": True, "logging_steps": 1}
    return trainer.fit(module, table, output_dir=folder, arguments=usual | arguments)


@pytest.fixture
def plain(make_config):
    return make_config(objectives={"answer_cross_entropy": 1.0}, lora_dropout=0.0)


@pytest.mark.scenario("T7")
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_fit_resumes_after_it_ran_out_of_memory(plain, table, tmp_path, monkeypatch, error, caplog):
    forward, calls = DistillationModule.forward, []

    def greedy(self, **batch):
        calls.append(0)
        if len(calls) == 4:
            raise error("tried to allocate much")
        return forward(self, **batch)

    monkeypatch.setattr(DistillationModule, "forward", greedy)
    with pytest.raises(ResourceError, match="memory ran out; halve per_device_train_batch_size") as caught:
        steps_until_a_fault(plain, table, tmp_path)
    assert caught.value.exit_code == 5
    assert last_valid_checkpoint(tmp_path).name == "checkpoint-2"
    steps_until_a_fault(plain, table, tmp_path)
    assert "resuming at checkpoint-2" in caplog.text
    assert [number for number, _ in losses(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.scenario("T10")
def test_fit_reports_a_killed_data_loader_worker(plain, table, tmp_path, monkeypatch):
    collate = trainer.Collator.__call__

    def deadly(self, rows):
        if len(made := list(tmp_path.glob("made-*"))) == 3 and torch.utils.data.get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / f"made-{len(made)}").touch()
        return collate(self, rows)

    monkeypatch.setattr(trainer.Collator, "__call__", deadly)
    workers = {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 1, "save_steps": 1}
    with pytest.raises(ResourceError, match=r"a data loader process has ended \(DataLoader worker") as caught:
        steps_until_a_fault(plain, table, tmp_path, **workers)
    assert caught.value.exit_code == 5
    assert last_valid_checkpoint(tmp_path) is not None
    monkeypatch.undo()
    steps_until_a_fault(plain, table, tmp_path, **workers)
    assert last_valid_checkpoint(tmp_path).name == "checkpoint-6"


@pytest.mark.parametrize("pinned", [True, False])
def test_get_train_dataloader_copies_pinned_batches_without_waiting(plain, table, tmp_path, monkeypatch, pinned):
    given, prepare = {}, trainer.prepare_data_loader

    def noted(loader, *arguments, **settings):
        given.update(settings, pinned=loader.pin_memory)
        return prepare(loader, *arguments, **settings)

    monkeypatch.setattr(trainer, "prepare_data_loader", noted)
    with warnings.catch_warnings(action="ignore"):  # torch pins nothing without a GPU, and says so
        steps_until_a_fault(plain, table, tmp_path, max_steps=1, dataloader_pin_memory=pinned)
    assert (given["non_blocking"], given["pinned"]) == (pinned, pinned)


@pytest.mark.scenario("T3")
@pytest.mark.parametrize("place", ["_save_optimizer_and_scheduler", "_save_rng_state"])
def test_fit_keeps_the_previous_checkpoint_when_the_disk_is_full(plain, table, tmp_path, monkeypatch, place):
    def full(self, *_arguments, **_more):
        if self.state.global_step == 4:
            raise OSError(28, "No space left on device")
        return whole(self, *_arguments, **_more)

    whole = getattr(trainer.DistillationTrainer, place)
    monkeypatch.setattr(trainer.DistillationTrainer, place, full)
    with pytest.raises(ResourceError, match="the disk is full"):
        steps_until_a_fault(plain, table, tmp_path, save_total_limit=1)
    assert last_valid_checkpoint(tmp_path).name == "checkpoint-2"
    monkeypatch.undo()
    steps_until_a_fault(plain, table, tmp_path, save_total_limit=1)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]
