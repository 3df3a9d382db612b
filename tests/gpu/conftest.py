"""Fixtures for students and training runs on a device."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

# pytest turns warnings of other Python and torch versions at import into errors before any mark applies.
with warnings.catch_warnings(action="ignore"):
    from device_runs import run_on_its_device
    from devices import packed_on
    from tiny import randomise, student_config

    from flipkd.student.loading import new_student


@pytest.fixture
def student_on(base_models):
    """`student_on(device, family, **settings)`: a student with packed rows and random adapters, in float32."""

    def make(device: str, family: str = "llama", *, dropout: float = 0.0, **settings: Any):
        settings = {"attn_implementation": packed_on(device), "lora_dropout": dropout} | settings
        student, _ = new_student(student_config(base_models[family], **settings), device=device)
        return randomise(student)

    return make


@pytest.fixture
def train(tmp_path):
    """`train(module, table, name, graphs=..., steps=...)`: run a training in the folder `name`."""

    def run(module, table, name: str, **settings: Any):
        return run_on_its_device(module, table, tmp_path / name, **settings)

    return run
