"""A learnable set of pairs with teacher vectors, and a config over a tiny base model."""

import pytest
from tiny import make_table

from flipkd.config import TrainConfig
from flipkd.data.pair_table import PairTable


@pytest.fixture
def table() -> PairTable:
    return make_table()


@pytest.fixture
def make_config(base_models, tmp_path):
    def make(family: str = "llama", **changes) -> TrainConfig:
        values = {
            "train_file": "train.csv",
            "validation_file": "validation.csv",
            "output_dir": str(tmp_path / "run"),
            "model_name_or_path": str(base_models[family]),
            "dtype": "float32",
            "max_text_length": 16,
            "lora_r": 4,
            "lora_dropout": 0.1,
            "readout_r": 8,
            "learning_rate": 1e-2,
            "num_train_epochs": 3,
            "per_device_train_batch_size": 8,
            "logging_steps": 1,
            "save_steps": 4,
        }
        return TrainConfig.check(values | changes)

    return make
