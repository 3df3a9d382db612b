"""A run of a comparison for tests of its identity and its settings."""

from __future__ import annotations

import pytest

from flipkd.comparison.entries import Entry
from flipkd.comparison.run import Run
from flipkd.comparison.systems import SYSTEMS
from flipkd.config import CompareConfig
from flipkd.data.pairs import read_pairs


@pytest.fixture
def run(pair_files, tmp_path) -> Run:
    files = {f"{name}_file": path for name, path in pair_files.items()}
    config = CompareConfig.check(
        {**files, "output_dir": str(tmp_path), "teach": {"num_train_epochs": 7}, "train": {"lora_r": 3}}
    )
    sets = {name: read_pairs(path) for name, path in pair_files.items()}
    return Run(config, sets, Entry("mine", SYSTEMS["flipped"], config.teach, config.train), 4)
