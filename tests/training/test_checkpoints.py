"""The newest checkpoint counts only with a manifest that matches; see test_trainer.py for real ones."""

from flipkd.files import write_manifest
from flipkd.training.checkpoints import last_valid_checkpoint


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
