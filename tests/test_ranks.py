"""Ranks: one process never waits; in several, rank 0 runs first, broadcasts numbers, and its failure ends all."""

import contextlib
import os

import pytest
from worlds import in_world, what_ranks_see

from flipkd import ranks
from flipkd.errors import ConfigError


def test_ranks_of_one_process_never_wait():
    assert (ranks.launched(), ranks.world_size(), ranks.rank(), ranks.local_rank()) == (False, 1, 0, 0)
    assert ranks.on_rank_0(lambda: 3) == 3
    assert ranks.rank_0_first(lambda: 4) == 4
    assert ranks.broadcast(5) == 5
    assert ranks.Vote().cast(True)
    with ranks.together(), ranks.entered_on_rank_0(contextlib.nullcontext):
        ranks.barrier()
    with pytest.raises(ConfigError, match="mine"):
        ranks.on_rank_0(lambda: (_ for _ in ()).throw(ConfigError("mine")))


def test_launched_needs_all_variables_and_more_than_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert not ranks.launched()
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    assert ranks.launched()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not ranks.launched()


def test_ranks_of_two_processes(tmp_path):
    first, second = in_world(2, what_ranks_see, tmp_path / "world")
    assert (first["on_rank_0"], second["on_rank_0"]) == (7, None)
    assert first["time"] < second["time"], "rank 0 runs before the others"
    assert (first["broadcast"], second["broadcast"]) == (100, 100)
    assert (first["entered"], second["entered"]) == (1, 0)
    # rank 1 votes yes in the second call; all ranks know it in the third
    assert first["votes"] == second["votes"] == [False, False, True, False]
    assert (first["failed"], second["failed"]) == (["ConfigError", 4], ["PeerError", 4])
    assert second["lost"] == ["PeerError", 5]
    assert "WORLD_SIZE" not in os.environ
