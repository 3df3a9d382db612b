"""What each rank reads: every row once, as many rows on each rank, and in each step what one process would read."""

import numpy as np
import pytest

from flipkd.errors import ConfigError
from flipkd.training.batches import LengthGroupedRows
from flipkd.training.sharding import RankBatches

BATCH = 4


def batches(count, *, processes, epoch=0, drop_last=False, swap_texts=False):
    """Per rank the batches of an epoch over `count` rows."""
    lengths = np.random.default_rng(0).integers(5, 200, count).tolist()
    found = []
    for process in range(processes):
        rows = LengthGroupedRows(lengths, batch_size=BATCH * processes, seed=0, swap_texts=swap_texts)
        own = RankBatches(rows, processes=processes, process=process, drop_last=drop_last)
        own.set_epoch(epoch)
        found.append(list(own))
        assert len(own) == len(found[-1])
    return found, lengths


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 23, 24, 25, 101])
def test_rank_batches_lose_no_row_and_repeat_few(processes, count):
    found, _ = batches(count, processes=processes)
    assert len({tuple(map(len, own)) for own in found}) == 1, "a rank with other numbers of rows would hang the rest"
    read = [row for own in found for batch in own for row in batch]
    assert set(read) == set(range(count))
    assert len(read) - count == -count % processes


def test_rank_batches_of_a_step_are_the_batch_of_one_process():
    found, lengths = batches(96, processes=3, epoch=2)
    alone = LengthGroupedRows(lengths, batch_size=3 * BATCH, seed=0)
    alone.set_epoch(2)
    order = list(alone)
    for step, shares in enumerate(zip(*found, strict=True)):
        assert {row for share in shares for row in share} == set(order[step * 12 : step * 12 + 12])
        read_totals = [sum(lengths[row] for row in share) for share in shares]
        assert max(read_totals) - min(read_totals) <= max(lengths), "ranks have rows of like length"


def test_rank_batches_swap_the_same_rows():
    found, lengths = batches(96, processes=3, epoch=1, swap_texts=True)
    alone = LengthGroupedRows(lengths, batch_size=3 * BATCH, seed=0, swap_texts=True)
    alone.set_epoch(1)
    assert {row for own in found for batch in own for row in batch} == set(alone)
    assert max(alone) >= 96 > min(alone)


def test_rank_batches_differ_by_epoch_and_number_of_processes():
    assert batches(50, processes=2)[0] == batches(50, processes=2)[0]
    assert batches(50, processes=2)[0] != batches(50, processes=2, epoch=1)[0]


def test_rank_batches_repeat_rows_of_the_first_batch():
    found, _ = batches(25, processes=2)
    assert found[1][-1][0] in found[0][0] + found[1][0]


def test_rank_batches_can_drop_the_last_rows():
    found, _ = batches(25, processes=2, drop_last=True)
    assert [len(batch) for own in found for batch in own] == [BATCH] * 6


def test_rank_batches_that_drop_the_only_batch_are_refused():
    with pytest.raises(ConfigError, match="drops the only batch: the 7 training pairs are fewer than the 8 of a step"):
        batches(7, processes=2, drop_last=True)
