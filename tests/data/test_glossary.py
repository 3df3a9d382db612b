"""Glossary: whole terms only, in their order, within the budget; other texts stay as they are."""

from __future__ import annotations

import pytest

from flipkd.data.glossary import Glossary
from flipkd.errors import DataError

TERMS = Glossary(["PIN", "card", "credit card", "PIN"], ["secret number", "plastic", "card with credit", "4 digits"])


@pytest.mark.parametrize(
    ("text", "enriched"),
    [
        ("my pin", "my pin (pin: secret number; pin: 4 digits)"),
        ("credit card", "credit card (credit card: card with credit)"),
        ("spinning cards", "spinning cards"),
        ("Card and PIN", "Card and PIN (card: plastic; pin: secret number; pin: 4 digits)"),
        ("  odd   text ", "  odd   text "),
    ],
)
def test_definitions_are_added_to_whole_terms(text, enriched):
    assert TERMS.enrich(text, max_characters=300) == enriched


@pytest.mark.parametrize("budget", range(1, 60, 3))
def test_the_budget_is_kept_and_0_terms_change_nothing(budget):
    added = TERMS.enrich("card PIN", max_characters=budget)[len("card PIN") :]
    assert len(added) <= budget
    assert Glossary([], []).enrich("card PIN", max_characters=budget) == "card PIN"


def test_a_file_needs_both_columns_and_texts(tmp_path):
    (tmp_path / "g.csv").write_text("term,definition\nPIN,number\ncard,\n")
    with pytest.raises(DataError, match="row 2, column definition"):
        Glossary.read(tmp_path / "g.csv")
    (tmp_path / "h.csv").write_text("term\nPIN\n")
    with pytest.raises(DataError, match="definition"):
        Glossary.read(tmp_path / "h.csv")
