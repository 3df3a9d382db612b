"""A unit of a comparison, for tests of what it depends on and of what it gives."""

from __future__ import annotations

import pytest

from flipkd.config import CompareConfig
from flipkd.data import read_pairs
from flipkd.stages.bench import Bench
from flipkd.stages.entries import Entry


@pytest.fixture
def bench(pair_files, tmp_path) -> Bench:
    files = {f"{name}_file": path for name, path in pair_files.items()}
    config = CompareConfig.check(
        {**files, "output_dir": str(tmp_path), "teach": {"num_train_epochs": 7}, "train": {"lora_r": 3}}
    )
    sets = {name: read_pairs(path) for name, path in pair_files.items()}
    return Bench(config, sets, Entry("mine", "flipped", config.teach, config.train), 4)
