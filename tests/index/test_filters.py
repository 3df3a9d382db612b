"""Filters: comparisons pass with their columns in backticks; functions, comments and further statements do not."""

from __future__ import annotations

import pytest

from flipkd.errors import ConfigError
from flipkd.index.filters import MOST_CHARACTERS, check_filter

COLUMNS = ["id", "text", "language", "Price in €", "repeat"]


@pytest.mark.parametrize(
    "where, checked",
    [
        ("language = 'en'", "`language` = 'en'"),
        ("LANGUAGE != 'it''s' AND NOT id IN ('a', 'b')", "`language` != 'it''s' AND NOT `id` IN ('a', 'b')"),
        ("`price in €` >= -1.5e3", "`Price in €` >= -1.5e3"),
        ("lower(text) like '%; drop table -- x%'", "lower(`text`) like '%; drop table -- x%'"),
        ("(language is not null)\n or text = '\\'", "(`language` is not null)\n or `text` = '\\'"),
    ],
)
def test_check_filter_passes_a_comparison(where, checked):
    assert check_filter(where, COLUMNS) == checked


@pytest.mark.scenario("X1")
@pytest.mark.parametrize(
    "where, word",
    [
        ("", "is empty"),
        ("language = 'en'; drop table entries", "character 16"),
        ("language = 'en' -- x", "character 17"),
        ("language = 'en' /* x */", "character 17"),
        ('language = "en"', "single quotes"),
        ("language = 'en", "character 12"),
        ("language = E'a\\'b'", "character 12"),
        ("language = $$en$$", "character 12"),
        ("regexp_like(text, 'a')", "no column"),
        ("repeat(text, 1000000000) = 'a'", "no function 'repeat'"),
        ("`repeat`(text, 1000000000) = 'a'", "no function 'repeat'"),
        ("langage = 'en'", "did you mean 'language'"),
        ("_rowid = 1", "no column"),
        ("id in (select id from entries)", "no column"),
        ("id = 'a' || 'b'", "character 10"),
        ("x" * (MOST_CHARACTERS + 1), "2,001 characters"),
    ],
)
def test_check_filter_refuses_anything_else(where, word):
    with pytest.raises(ConfigError, match=word):
        check_filter(where, COLUMNS)
