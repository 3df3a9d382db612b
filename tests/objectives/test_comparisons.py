"""Comparisons against plain loops, and the draw where there are more than memory allows."""

import pytest
import torch

from flipkd.objectives.comparisons import (
    comparison_slots,
    cross_comparisons,
    draw_with_replacement,
    ordered_comparisons,
)


def listed(comparisons, size):
    """(higher, lower) of every comparison, in order."""
    sides = (side.expand(comparisons.valid.shape) for side in comparisons.sides(torch.arange(size)))
    return sorted(zip(*(side[comparisons.valid].tolist() for side in sides), strict=True))


def grouped(members, size):
    """The group of each cell, -1 for those in none."""
    group = torch.full((size,), -1)
    for number, cells in enumerate(members):
        group[cells] = number
    return group


def masks(size, *members):
    return [grouped([cells], size) == 0 for cells in members]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_ordered_comparisons_equals_two_loops(seed, gap):
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
    for most, limit in ((190, 190), (190, 399), (10**6, 399)):  # all that sizes allow; room for all that there are
        found = ordered_comparisons(grouped(groups, 20), teacher, gap=gap, most=most, limit=limit)
        assert listed(found, 20) == expected
        assert found.valid.shape == (min(most, limit),)
    mask = ordered_comparisons(grouped(groups, 20), teacher, gap=gap, most=190, limit=400)
    assert mask.valid.shape == (20, 20)
    assert listed(mask, 20) == expected


def test_ordered_comparisons_resolves_small_gaps_in_large_groups():
    teacher = 1 - torch.arange(50.0) * 2**-24  # neighbours in float32
    group = torch.arange(50) % 2 * 10**6
    for limit in (1225, 2500):
        found = ordered_comparisons(group, teacher, gap=0.0, most=1225, limit=limit)
        assert len(listed(found, 50)) == 2 * 25 * 24 // 2


def test_cross_comparisons_lists_every_pair_of_both_classes():
    first, second = torch.tensor([3, 5]), torch.tensor([0, 7, 8])
    everything = torch.ones(9, dtype=torch.bool)
    for limit in (6, 19, 20, 80, 81):  # at most 20 of the 81 pairs of cells are compared
        found = cross_comparisons(*masks(9, first, second), limit=limit)
        assert found.valid.shape == ((9, 9) if limit == 81 else (min(limit, 20),))
        assert listed(found, 9) == [(a, b) for a in (3, 5) for b in (0, 7, 8)]
        assert listed(cross_comparisons(*masks(9, first, second[:0]), limit=limit), 9) == []
        assert listed(cross_comparisons(everything, ~everything, limit=limit), 9) == []
        assert listed(cross_comparisons(~everything, everything, limit=limit), 9) == []


def test_empty_comparison_slots_have_valid_indices():
    nothing, teacher = torch.full((4,), -1), torch.rand(4)
    for limit in (2, 100):
        for found in (
            cross_comparisons(nothing > 0, nothing > 0, limit=limit),
            ordered_comparisons(nothing, teacher, gap=0, most=6, limit=limit),
        ):
            assert not found.valid.any()
            assert all(((cells >= 0) & (cells < 4)).all() for cells in found.sides(torch.arange(4)))


def test_comparison_slots_beyond_the_limit_are_drawn_uniformly():
    torch.manual_seed(0)
    group = torch.arange(8) // 4
    drawn_ones = listed(ordered_comparisons(group, torch.arange(8.0), gap=0.0, most=28, limit=11), 8)
    allowed = listed(ordered_comparisons(group, torch.arange(8.0), gap=0.0, most=28, limit=12), 8)
    assert len(allowed) == 12
    assert len(drawn_ones) == 11
    assert set(drawn_ones) <= set(allowed)
    assert len(listed(cross_comparisons(group == 0, group == 1, limit=11), 8)) == 11
    counts = torch.zeros(10, dtype=torch.long)
    for _ in range(2000):
        numbers, valid = comparison_slots(torch.tensor(10), most=12, limit=9)
        assert valid.all()
        counts[numbers] += 1  # once a draw, however often it is drawn: 1 - 0.9 ** 9 of the time
    assert (counts / 2000 - (1 - 0.9**9)).abs().max() < 0.05


def test_comparison_slots_draws_numbers_beyond_float32_and_int32(monkeypatch):
    count, device = 2**45 + 1, torch.device("cpu")
    numbers = draw_with_replacement(torch.tensor(count), size=10_000, device=device)
    assert numbers.max() > 0.99 * count
    assert ((numbers >= 0) & (numbers < count)).all()
    assert (numbers % 2 == 1).any()
    monkeypatch.setattr(torch, "rand", lambda size, **_: torch.ones(size, dtype=torch.float64))  # as rounding might
    assert draw_with_replacement(torch.tensor(count), size=3, device=device).tolist() == [count - 1] * 3
