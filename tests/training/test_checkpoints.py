"""The newest checkpoint counts only with a manifest that matches; see test_trainer.py for more real ones."""

import contextlib
import shutil
from pathlib import Path

import pytest
import torch
from tiny import make_table

from flipkd.errors import RefusedError
from flipkd.files import write_manifest
from flipkd.training.checkpoints import last_valid_checkpoint
from flipkd.training.run import fresh_student, train


def make(folder, step, *, sealed=True):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    if sealed:
        write_manifest(checkpoint)
    return checkpoint


def test_the_highest_sealed_number_wins_not_the_highest_string(tmp_path):
    make(tmp_path, 9)
    make(tmp_path, 100)
    make(tmp_path, 20)
    make(tmp_path, 200, sealed=False)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-300").write_text("a file")
    assert last_valid_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


def test_none_when_there_is_none(tmp_path):
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
        train(student, contract, config, table=make_table(), validation=make_table(24, seed=1))

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
