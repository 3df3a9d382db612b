"""Comparisons against plain loops, and the draw where there are more than memory allows."""

import pytest
import torch

from flipkd.objectives.comparisons import across, ordered, take


def listed(comparisons):
    return sorted(zip(*(side.tolist() for side in comparisons), strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_ordered_lists_what_two_loops_find(seed, gap):
    random = torch.Generator().manual_seed(seed)
    teacher = torch.randint(0, 6, (20,), generator=random) / 5  # with ties
    groups = list(torch.randperm(20, generator=random)[:17].split([5, 0, 1, 7, 4]))
    expected = sorted(
        (u, v)
        for group in map(torch.Tensor.tolist, groups)
        for u in group
        for v in group
        if teacher[v] < teacher[u] - gap
    )
    assert listed(ordered(groups, teacher, gap=gap, limit=10**6)) == expected


def test_across_lists_every_pair_of_both_sides():
    first, second = torch.tensor([3, 5]), torch.tensor([0, 7, 8])
    assert listed(across(first, second, limit=6)) == [(a, b) for a in (3, 5) for b in (0, 7, 8)]
    assert listed(across(first, second[:0], limit=6)) == []


def test_beyond_the_limit_as_many_are_drawn_evenly():
    torch.manual_seed(0)
    groups = [torch.arange(4), torch.arange(4, 8)]
    drawn = listed(ordered(groups, torch.arange(8.0), gap=0.0, limit=11))
    allowed = listed(ordered(groups, torch.arange(8.0), gap=0.0, limit=12))
    assert len(allowed) == 12
    assert len(drawn) == 11
    assert set(drawn) <= set(allowed)
    counts = take(10, limit=9).new_zeros(10)
    for _ in range(2000):
        counts[take(10, limit=9)] += 1  # once a draw, however often it is drawn: 1 - 0.9 ** 9 of the time
    assert (counts / 2000 - (1 - 0.9**9)).abs().max() < 0.05
