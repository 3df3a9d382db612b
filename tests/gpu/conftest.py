"""Fixtures for students and training runs on a device."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

# pytest turns warnings of other Python and torch versions at import into errors before any mark applies.
with warnings.catch_warnings(action="ignore"):
    from device_runs import run_on_its_device
    from devices import packed_on
    from tiny import randomise

    from flipkd.student.language_model import LoraSettings
    from flipkd.student.loading import new_student
    from flipkd.student.prompt import Template

LORA = {"r": 4, "alpha": 8, "readout_r": 12, "readout_layers": (-1,)}


@pytest.fixture
def student_on(base_models):
    """`student_on(device, family, **settings)`: a student with packed rows and random adapters, in float32."""

    def make(device: str, family: str = "llama", *, dropout: float = 0.0, **settings: Any):
        defaults = {"attn_implementation": packed_on(device), "reading": "joint", "max_text_length": 16}
        student, _ = new_student(
            str(base_models[family]),
            template=Template(),
            lora=LoraSettings(**LORA, dropout=dropout),
            device=device,
            **({"dtype": "float32"} | defaults | settings),
        )
        return randomise(student)

    return make


@pytest.fixture
def train(tmp_path):
    """`train(module, table, name, graphs=..., steps=...)`: run a training in the folder `name`."""

    def run(module, table, name: str, **settings: Any):
        return run_on_its_device(module, table, tmp_path / name, **settings)

    return run
