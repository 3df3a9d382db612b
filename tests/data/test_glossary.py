"""read_glossary: several definitions of a term, and what a file must have."""

from __future__ import annotations

import pytest

from flipkd.data.glossary import glossary_entry, read_glossary
from flipkd.errors import DataError


def test_a_term_may_have_several_definitions_and_the_hash_is_that_of_the_content(tmp_path):
    (tmp_path / "g.csv").write_text("term,definition\nPIN,secret  number\ncard,plastic\nPIN,4 digits\n")
    assert read_glossary(tmp_path / "g.csv") == {"PIN": ["secret number", "4 digits"], "card": ["plastic"]}
    (tmp_path / "h.csv").write_text("definition,term\nsecret number,PIN\nplastic,card\n4 digits,PIN\n")
    assert glossary_entry(str(tmp_path / "g.csv")) == glossary_entry(str(tmp_path / "h.csv"))
    assert glossary_entry(None) == {}


def test_read_glossary_needs_both_columns_and_texts(tmp_path):
    (tmp_path / "g.csv").write_text("term,definition\nPIN,number\ncard,\n")
    with pytest.raises(DataError, match="row 2, column definition"):
        read_glossary(tmp_path / "g.csv")
    (tmp_path / "h.csv").write_text("term\nPIN\n")
    with pytest.raises(DataError, match="definition"):
        read_glossary(tmp_path / "h.csv")
