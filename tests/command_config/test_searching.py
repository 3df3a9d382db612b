"""Settings of the commands that make, change and search an index."""

from __future__ import annotations

import pytest

from flipkd.command_config import IndexCompactConfig, IndexConfig, IndexRollbackConfig, SearchConfig
from flipkd.errors import ConfigError


def test_searching_scores_more_candidates_than_it_returns():
    config = SearchConfig.check({"query": "my card", "matcher": "m", "index": "i"})
    assert config.top_k < config.candidates
    assert SearchConfig.is_argument("query")


def test_searching_reads_types_of_columns_by_name():
    given = {"texts": "t.csv", "encoder": "e", "types": ["price=float", "year=int"]}
    assert IndexConfig.build(None, (), given).types == {"price": "float", "year": "int"}


@pytest.mark.parametrize(
    "model, values",
    [
        (IndexConfig, {"texts": "t.csv", "encoder": "e", "types": {"price": "decimal"}}),
        (IndexRollbackConfig, {"index": "i", "version": 0}),
        (IndexCompactConfig, {"index": "i", "keep_days": -1}),
        (SearchConfig, {"query": "q", "matcher": "m", "index": "i", "top_k": 0}),
    ],
)
def test_searching_refuses_values_out_of_range(model, values):
    with pytest.raises(ConfigError):
        model.check(values)
