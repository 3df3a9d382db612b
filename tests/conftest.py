"""Fixtures that every room's tests share: tiny base models on disk, and students made from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny import FAMILIES, build_model, build_tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that would reach for the network fails instead


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="session")
def base_models(tmp_path_factory) -> dict[str, Path]:
    """Family -> folder of a tiny model with its tokenizer, saved as transformers saves them."""
    folders = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp("base") / family
        tokenizer = build_tokenizer()
        build_model(family, vocabulary=len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[family] = folder
    return folders


@pytest.fixture(params=FAMILIES)
def base_model(request, base_models) -> Path:
    return base_models[request.param]


@pytest.fixture
def make_student(base_models):
    """`make_student(family, **settings)` -> (student, contract) in float32 with small LoRA."""
    from flipkd.student.language_model import LoraSettings
    from flipkd.student.model import new_student
    from flipkd.student.prompt import Template

    def make(family: str = "llama", **settings):
        lora = settings.pop("lora", LoraSettings(r=4, alpha=8, readout_r=12, readout_layers=(-1,)))
        defaults = {"template": Template(), "reading": "joint", "max_text_length": 16, "dtype": "float32"}
        return new_student(str(base_models[family]), lora=lora, **(defaults | settings))

    return make
