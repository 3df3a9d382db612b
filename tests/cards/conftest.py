"""Settings and a contract to write cards of; no model is loaded."""

from __future__ import annotations

import pytest

from flipkd.config import TrainConfig
from flipkd.student.contract import ScoreContract


@pytest.fixture
def make_config(tmp_path):
    """`make_config(**changes)` -> TrainConfig of a run in a folder of this machine."""

    def make(**changes) -> TrainConfig:
        values = {"train_file": "train.csv", "validation_file": "validation.csv", "output_dir": str(tmp_path / "run")}
        return TrainConfig.check(values | {"model_name_or_path": "Qwen/Qwen2.5-0.5B"} | changes)

    return make


@pytest.fixture
def contract() -> ScoreContract:
    return ScoreContract(
        base_model_name_or_path="base",
        base_model_hash="hash",
        base_config={"model_type": "llama"},
        dtype="float32",
        template={"yes": " yes", "no": " no"},
        label_ids=(1, 2),
        reading="joint",
        max_text_length=16,
        readout_places=["model.layers.2.self_attn.q_proj"],
        calibration={"method": "sigmoid", "slope": 2.5, "intercept": -0.75},
        threshold=0.25,
    )
