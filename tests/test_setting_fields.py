"""Shared fields: each names its panel, and keeps the description and the limits of its type."""

from __future__ import annotations

import pytest

from flipkd.errors import FlipkdError
from flipkd.setting_fields import DATA, LORA, TRAINING, Columns, Directed, Seed
from flipkd.settings import Settings


class Some(Settings):
    """Settings of a test."""

    columns: Columns = DATA(None)
    directed: Directed = DATA(False)
    rank: int = LORA(4, ge=1, description="rank")
    seed: Seed = TRAINING(0)


def test_a_field_names_its_panel_and_has_a_description():
    panels = {name: field.json_schema_extra["panel"] for name, field in Some.model_fields.items()}
    assert panels == {"columns": "Data", "directed": "Data", "rank": "LoRA", "seed": "Training"}
    assert all(field.description for field in Some.model_fields.values())


@pytest.mark.parametrize("values", [{"seed": -1}, {"seed": 2**32}, {"rank": 0}, {"columns": ["text1"]}])
def test_setting_fields_keep_their_limits(values):
    with pytest.raises(FlipkdError, match=next(iter(values))):
        Some.check(values)


def test_setting_fields_have_their_defaults():
    some = Some.check({"columns": {"text1": "title"}})
    assert (some.columns, some.directed, some.rank, some.seed) == ({"text1": "title"}, False, 4, 0)
