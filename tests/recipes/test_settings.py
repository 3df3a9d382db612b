"""Every recipe's YAML is settings that flipkd takes, variants and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from flipkd.comparison.entries import entries
from flipkd.config import CompareConfig
from flipkd.objectives import OBJECTIVES

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: str(path.relative_to(RECIPES)))
def test_compare_config_is_built_of_each_recipe(path):
    config = CompareConfig.build(path)
    assert config.data == path.stem
    listed = entries(config)
    assert set(config.variants) <= {entry.name for entry in listed}
    shared = {"train_file": config.train_file, "validation_file": config.validation_file, "seed": 0}
    for entry in listed:
        settings = entry.identity(shared)
        assert set(settings.get("train", {}).get("objectives", {})) <= set(OBJECTIVES)


def test_compare_config_of_a_recipe_has_no_two_variants_that_are_the_same():
    for path in RECIPES.rglob("*.yaml"):
        config = CompareConfig.build(path)
        shared = {"train_file": config.train_file, "validation_file": config.validation_file, "seed": 0}
        seen = [(entry.identity(shared), entry.train.get("train_file")) for entry in entries(config)]
        assert all(one != other for at, one in enumerate(seen) for other in seen[:at]), path
