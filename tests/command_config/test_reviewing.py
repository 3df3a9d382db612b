"""Settings of the commands of the review queue."""

from __future__ import annotations

import pytest

from flipkd.command_config import ReviewExportConfig, ReviewListConfig, ReviewStatsConfig
from flipkd.errors import ConfigError


def test_reviewing_takes_the_queue_as_an_argument():
    for config in (ReviewExportConfig, ReviewListConfig, ReviewStatsConfig):
        assert config.is_argument("queue")
        assert config.model_fields["queue"].is_required()


def test_reviewing_lists_20_pairs_by_default_and_null_lists_all():
    assert ReviewListConfig.check({"queue": "q.db"}).limit == 20
    assert ReviewListConfig.build(None, ["limit=null"], {"queue": "q.db"}).limit is None


@pytest.mark.parametrize("values", [{"to": "excel"}, {"to": "csv", "select": "best"}, {"to": "csv", "votes": 0}])
def test_reviewing_refuses_other_formats_and_selections(values):
    with pytest.raises(ConfigError):
        ReviewExportConfig.check({"queue": "q.db", "output": "o.csv"} | values)
