"""Ranks: alone nothing waits; together rank 0 goes first, all know its numbers, and its failure is that of all."""

import contextlib
import os

import pytest
from worlds import in_world, what_ranks_see

from flipkd import ranks
from flipkd.errors import ConfigError


def test_alone_everything_is_done_here_and_at_once():
    assert (ranks.launched(), ranks.world_size(), ranks.rank(), ranks.local_rank()) == (False, 1, 0, 0)
    assert ranks.first(lambda: 3) == 3
    assert ranks.in_turn(lambda: 4) == 4
    assert ranks.same(5) == 5
    assert ranks.Vote().cast(True)
    with ranks.together(), ranks.led(contextlib.nullcontext):
        ranks.wait()
    with pytest.raises(ConfigError, match="mine"):
        ranks.first(lambda: (_ for _ in ()).throw(ConfigError("mine")))


def test_a_variable_of_another_kind_of_job_makes_no_ranks(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert not ranks.launched()
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    assert ranks.launched()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not ranks.launched()


def test_together(tmp_path):
    first, second = in_world(2, what_ranks_see, tmp_path / "world")
    assert (first["made"], second["made"]) == (7, None)
    assert first["turns"] < second["turns"], "rank 0 goes before the others"
    assert (first["same"], second["same"]) == (100, 100)
    assert (first["led"], second["led"]) == (1, 0)
    # rank 1 asks in the second call; all hear of it in the third
    assert first["votes"] == second["votes"] == [False, False, True, False]
    assert (first["failed"], second["failed"]) == (["ConfigError", 4], ["PeerError", 4])
    assert second["lost"] == ["PeerError", 5]
    assert "WORLD_SIZE" not in os.environ
