"""Each objective's value and gradients on a device equal those on the CPU in float32."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from build_objective import build_objective
from devices import apart, each_device
from torch.nn.functional import normalize

from flipkd.objectives import OBJECTIVES, MatchBatch

TRAINED = ("answers", "left", "right", "layer_states")
each_objective = pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"simcse"}))  # which draws on the device
each_width = pytest.mark.parametrize("columns", [8, 13])


def batch_of(columns, *, noise_scale=0.0, pairs=8):
    """Random pairs with labels of all kinds and repeated texts; `noise_scale` moves every number of the student by so much."""
    random = torch.Generator().manual_seed(3)
    vectors = [normalize(torch.randn(count, 5, generator=random), dim=1) for count in (pairs, columns)]
    teachers = [normalize(torch.randn(count, 3, generator=random), dim=1) for count in (pairs, columns)]
    batch = MatchBatch(
        answers=torch.randn(pairs, 2, generator=random),
        label=torch.tensor([1, 0, -1, 1, 0, 1, 0, -1]),
        left=vectors[0],
        right=vectors[1],
        teacher_grid=teachers[0] @ teachers[1].T,
        teacher_left=teachers[0],
        teacher_right=teachers[1],
        left_id=torch.tensor([0, 1, 2, 3, 0, 4, 5, 6]),
        right_id=torch.arange(10, 10 + columns) - 8 * (torch.arange(columns) == 6),
        list_id=torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]),
        layer_states=torch.randn(pairs, 3, 6, generator=random),
        pair_id=torch.tensor([0, 0, 1, 2, 3, 2, 4, 4]),
    )
    moved = {name: getattr(batch, name) for name in TRAINED}
    noise = {name: noise_scale * torch.randn(tensor.shape, generator=random) for name, tensor in moved.items()}
    return replace(batch, **{name: tensor + noise[name] for name, tensor in moved.items()})


def differentiated(name, batch, device):
    """(value, gradient of each trained tensor or None) of the objective on `device`."""
    placed = {
        field.name: None if (tensor := getattr(batch, field.name)) is None else tensor.detach().clone().to(device)
        for field in fields(batch)
    }
    for part in TRAINED:
        placed[part].requires_grad_()
    objective = build_objective(name, batch)
    loss = (objective.to(device) if isinstance(objective, torch.nn.Module) else objective)(MatchBatch(**placed))
    loss.backward()
    assert loss.device.type == device
    return loss.detach(), [placed[part].grad for part in TRAINED]


def assert_alike(found, expected, *, tolerance):
    (loss, gradients), (own_loss, own) = found, expected
    assert float(loss) == pytest.approx(float(own_loss), rel=tolerance, abs=tolerance)
    assert [gradient is None for gradient in gradients] == [gradient is None for gradient in own]
    given = [
        (ours, theirs) for ours, theirs in zip(gradients, own, strict=True) if theirs is not None and theirs.any()
    ]
    assert given
    for ours, theirs in given:
        assert apart(ours, theirs) < tolerance


@each_device
@each_objective
@each_width
def test_objective_on_a_device_equals_the_cpu(device, name, columns):
    """On the CPU the batch gets a little noise: equal results then show that it is not near a threshold."""
    batch = batch_of(columns)
    moved = batch_of(columns, noise_scale=1e-6) if device == "cpu" else batch
    assert_alike(differentiated(name, moved, device), differentiated(name, batch, "cpu"), tolerance=1e-4)
