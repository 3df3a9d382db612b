"""The mean of weights over the last steps equals a loop's, also when its state went through a checkpoint."""

import pytest
import torch

from flipkd.training.averaging import PREFIX, WeightAverage, trained_weights


def weights_at(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {name: torch.randn(3, generator=generator) for name in ("a", "b")}


@pytest.mark.parametrize("share,first", [(1.0, 1), (0.5, 6), (0.3, 8), (0.01, 10)])
@pytest.mark.parametrize("resumed_after", [None, 4, 8])
def test_weight_average_is_the_mean_of_the_last_share_of_the_steps(share, first, resumed_after):
    average = WeightAverage(share)
    for step in range(1, 11):
        average.update(weights_at(step), step=step, steps=10)
        if step == resumed_after:
            state = {name: tensor.clone() for name, tensor in average.state().items()}
            average = WeightAverage(share)
            average.restore(state)
    found = weights_at(10)
    average.apply(found)
    for name, weight in found.items():
        expected = torch.stack([weights_at(step)[name] for step in range(first, 11)]).mean(0)
        torch.testing.assert_close(weight, expected)
    assert average.state() == {}, "it forgets what it has applied"


def test_without_means_apply_changes_nothing():
    found = weights_at(1)
    WeightAverage(0.5).apply(found)
    assert all(torch.equal(weight, weights_at(1)[name]) for name, weight in found.items())


def test_state_is_marked_and_trained_weights_are_those_with_a_gradient():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    module[0].requires_grad_(False)
    trained = trained_weights(module)
    assert list(trained) == ["1.weight", "1.bias"]
    average = WeightAverage(1.0)
    average.update(trained, step=1, steps=1)
    assert list(average.state()) == [PREFIX + name for name in trained]
