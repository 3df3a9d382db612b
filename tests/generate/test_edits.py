"""Edits change exactly one number, day, month or name, and keep the rest."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.generate.edits import edit, names_of


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [("pay 1500 now", "pay ", " now"), ("by MAY, on tuesday", "by MAY, on ", ""), ("7", "", "")],
)
def test_edit_changes_one_part_to_another_of_its_kind_and_keeps_the_rest(text, before, after):
    for seed in range(20):
        new = edit(text, [], np.random.default_rng(seed))
        assert new != text
        assert new.startswith(before)
        assert new.endswith(after)
        middle = new[len(before) : len(new) - len(after)]
        assert len(middle) == len(text) - len(before) - len(after) or middle.endswith("day")
        assert not (middle.isdigit() and len(middle) > 1 and middle.startswith("0"))


def test_edit_replaces_a_name_by_one_of_another_text():
    texts = ["I met Anna there", "then Bert came. Carla left", "Dora"]
    assert names_of(texts) == ["Anna", "Bert"], "the first word of a sentence is no name"
    assert edit(texts[0], names_of(texts), np.random.default_rng(0)) == "I met Bert there"
    assert edit("nothing here", ["Anna"], np.random.default_rng(0)) is None
