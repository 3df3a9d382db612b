"""The newest checkpoint counts only with a manifest that matches; see test_trainer.py for more real ones."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_table
from transformers import TrainerCallback

from flipkd.errors import RefusedError, StoppedError
from flipkd.files import read_json, write_json, write_manifest
from flipkd.training import checkpoints, trainer
from flipkd.training.checkpoints import last_valid_checkpoint, load_best_checkpoint, load_checkpoint, remove_old
from flipkd.training.finish import Validation
from flipkd.training.module import DistillationModule
from flipkd.training.run import fresh_student, run_objectives, train
from flipkd.training.stop import GracefulStop
from flipkd.training.trainer import fit


def make(folder, step, *, sealed=True):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    if sealed:
        write_manifest(checkpoint)
    return checkpoint


@pytest.mark.scenario("T11")
def test_last_valid_checkpoint_is_the_one_with_the_highest_number(tmp_path):
    make(tmp_path, 9)
    make(tmp_path, 100)
    make(tmp_path, 20)
    make(tmp_path, 200, sealed=False)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-300").write_text("a file")
    assert last_valid_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


def test_last_valid_checkpoint_is_none_without_checkpoints(tmp_path):
    assert last_valid_checkpoint(tmp_path) is None
    make(tmp_path, 1, sealed=False)
    assert last_valid_checkpoint(tmp_path) is None


class Pickled:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.scenario("X1")
def test_no_file_of_a_checkpoint_runs_code(make_config, tmp_path):
    config = make_config(num_train_epochs=1, save_steps=4)

    def run():
        shutil.rmtree(Path(config.output_dir) / "matcher", ignore_errors=True)
        student, contract = fresh_student(config)
        table, validation = make_table(), make_table(24, seed=1)
        objectives = run_objectives(config, table, validation)
        train(student, contract, config, objectives=objectives, table=table, validation=validation)

    run()
    marker, checkpoint = tmp_path / "code-ran", Path(config.output_dir) / "checkpoint-4"
    shutil.rmtree(Path(config.output_dir) / "checkpoint-6")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        whole = (checkpoint / name).read_bytes()
        torch.save({"a": Pickled(marker)}, checkpoint / name)
        write_manifest(checkpoint)
        read = name != "training_args.bin"  # which is written and never read
        with pytest.raises(RefusedError, match="holds a pickle") if read else contextlib.nullcontext():
            run()
        assert not marker.exists(), name
        (checkpoint / name).write_bytes(whole)


class StopAtStep5(GracefulStop):
    """A signal in step 5."""

    def on_step_end(self, args, state, control, **given):
        self.requested = state.global_step == 5
        super().on_step_end(args, state, control, **given)


def steps_in(folder) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in folder.glob("checkpoint-*"))


@pytest.mark.scenario("T11")
def test_old_checkpoints_are_removed_by_step_and_what_is_not_sealed_does_not_count(tmp_path):
    for step in (5, 10, 15, 20, 30):
        make(tmp_path, step, sealed=step != 15)
    remove_old(tmp_path, step=20, keep=2)
    assert steps_in(tmp_path) == [10, 15, 20, 30]
    remove_old(tmp_path, step=20, keep=3)
    assert steps_in(tmp_path) == [10, 15, 20, 30]
    remove_old(tmp_path, step=30, keep=1)
    assert steps_in(tmp_path) == [30]


@pytest.mark.scenario("T11")
def test_a_clock_that_goes_back_removes_no_new_checkpoint(make_config, table, tmp_path, monkeypatch):
    seen = []

    class Clock(TrainerCallback):
        """Each checkpoint is an hour older than the one before; the newest of them is always there."""

        def on_save(self, args, state, control, **_unused):
            folder = Path(args.output_dir)
            seen.append(steps_in(folder))
            os.utime(folder / f"checkpoint-{state.global_step}", (1e9 - 3600 * state.global_step,) * 2)

    config = make_config(objectives={"answer_cross_entropy": 1.0})
    module = DistillationModule(fresh_student(config)[0], run_objectives(config, table, table))
    arguments = {"max_steps": 6, "save_steps": 1, "save_total_limit": 2, "per_device_train_batch_size": 4}
    monkeypatch.setattr("flipkd.training.trainer.MetricsFile", lambda path: Clock())
    fit(module, table, output_dir=tmp_path, arguments=arguments | {"report_to": "none", "disable_tqdm": True})
    assert steps_in(tmp_path) == [5, 6]
    assert seen == [[1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6]]
    assert last_valid_checkpoint(tmp_path).name == "checkpoint-6"


def test_the_best_checkpoint_is_the_one_with_the_highest_measure_and_of_equal_ones_the_newest(
    make_config, table, tmp_path, caplog
):
    config = make_config(objectives={"answer_cross_entropy": 1.0})
    module = DistillationModule(fresh_student(config)[0], run_objectives(config, table, table), average_weights=0.5)
    load_best_checkpoint(module, tmp_path, lambda: 0.0)
    assert "has no checkpoint, so the last weights are taken" in caplog.text
    arguments = {"max_steps": 4, "save_steps": 1, "report_to": "none", "disable_tqdm": True}
    fit(module, table, output_dir=tmp_path, arguments=arguments)
    last = {name: weight.clone() for name, weight in module.state_dict().items()}
    measures = iter([0.5, 0.7, 0.7, 0.6])  # of 4, 3, 2, 1
    load_best_checkpoint(module, tmp_path, lambda: next(measures))
    assert "checkpoint-3 is the best of 4 checkpoints: average precision 0.700 on validation, the last one 0.500" in (
        caplog.text
    )
    third = load_file(tmp_path / "checkpoint-3" / "model.safetensors")
    assert {name for name in third if name.startswith("average.")} == {f"average.{name}" for name in last}
    for name, weight in module.state_dict().items():  # the mean that a run of three steps would end with
        assert torch.equal(weight, third[f"average.{name}"])
    load_checkpoint(module, tmp_path / "checkpoint-4")
    assert all(torch.equal(weight, last[name]) for name, weight in module.state_dict().items())


def test_a_run_with_select_checkpoint_ends_with_the_best_of_them(make_config, table, tmp_path):
    config = make_config(
        select_checkpoint="best",
        save_steps=3,
        save_total_limit=2,
        learning_rate=0.05,
        output_dir=str(tmp_path / "run"),
    )
    validation = make_table(24, seed=1)
    objectives = run_objectives(config, table, validation)
    precisions = []
    with pytest.MonkeyPatch.context() as patch:
        precision = Validation.precision
        patch.setattr(Validation, "precision", lambda self: precisions.append(precision(self)) or precisions[-1])
        folder = train(*fresh_student(config), config, objectives=objectives, table=table, validation=validation)
    assert len(precisions) == 6, "all checkpoints are there when they are measured"
    assert len(set(precisions)) > 1
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-15", "checkpoint-18"]
    found = read_json(tmp_path / "run" / "validation.json")
    assert found["average_precision"] >= max(precisions) - 0.02  # a sum is chosen on held-out folds
    assert (folder / "matcher.json").exists()


@pytest.mark.parametrize(("strategy", "planned"), [("steps", [4, 8, 9]), ("epoch", [3, 6, 9]), ("no", [9])])
def test_a_checkpoint_saved_at_a_signal_is_not_chosen_as_the_best(
    make_config, table, tmp_path, monkeypatch, strategy, planned
):
    config = make_config(objectives={"answer_cross_entropy": 1.0})
    module = DistillationModule(fresh_student(config)[0], run_objectives(config, table, table))
    for step in range(1, 10):
        folder = make(tmp_path, step, sealed=False)
        write_json(
            folder / "trainer_state.json", {"global_step": step, "max_steps": 9, "save_steps": 4, "epoch": step / 3}
        )
        write_manifest(folder)
    loaded = []
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda module, folder: loaded.append(folder))
    load_best_checkpoint(module, tmp_path, lambda: 0.5, strategy)
    assert steps_in(tmp_path) == list(range(1, 10))
    assert sorted({int(folder.name.partition("-")[2]) for folder in loaded}) == planned


def test_a_stopped_and_resumed_run_chooses_among_the_checkpoints_of_an_unbroken_one(make_config, tmp_path):
    def run(name, *, stopped=False):
        config = make_config(
            select_checkpoint="best", save_steps=6, save_total_limit=9, output_dir=str(tmp_path / name)
        )
        measured = []
        with pytest.MonkeyPatch.context() as patch:
            # The best weights are those after the signal.
            load = checkpoints.load_checkpoint
            patch.setattr(checkpoints, "load_checkpoint", lambda m, at: measured.append(at.name) or load(m, at))
            patch.setattr(Validation, "precision", lambda _: float(measured[-1] == "checkpoint-5"))
            table, student = make_table(), fresh_student(config)
            if stopped:
                patch.setattr(trainer, "GracefulStop", StopAtStep5)
            objectives = run_objectives(config, table, table)
            train(*student, config, objectives=objectives, table=table, validation=table)
        return Path(config.output_dir), measured

    with pytest.raises(StoppedError):
        run("stopped", stopped=True)
    assert steps_in(tmp_path / "stopped") == [5]
    (unbroken, expected), (resumed, found) = run("unbroken"), run("stopped")
    assert found == expected
    ours, theirs = (load_file(folder / "matcher/adapter/adapter_model.safetensors") for folder in (unbroken, resumed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
