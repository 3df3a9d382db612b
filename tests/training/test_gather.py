"""Several ranks are one process with the whole batch: the same loss on all, and DDP's mean of their gradients is its own."""

import pytest
import torch
from gradients import DRAWN, MIXED, gathered_batch, losses_and_gradients
from worlds import in_world

from flipkd.objectives import OBJECTIVES, MatchBatch
from flipkd.training.gather import gather_batches

SIZES = (2, 3)


@pytest.fixture(scope="module")
def alone(base_models):
    return {size: losses_and_gradients(str(base_models["llama"]), size) for size in SIZES}


@pytest.fixture(scope="module")
def shared(base_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    base = str(base_models["llama"])
    return {size: in_world(size, losses_and_gradients, folder / str(size), base, size) for size in SIZES}


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("objective", [*OBJECTIVES, MIXED, DRAWN])
def test_gather_batches_gives_loss_and_gradients_of_one_process(alone, shared, objective, size):
    loss, gradients = alone[size][objective]
    assert loss > 0
    assert gradients
    scale = max(float(gradient.abs().max()) for gradient in gradients.values())
    for own_loss, own in (rank[objective] for rank in shared[size]):
        assert float(own_loss) == pytest.approx(float(loss), rel=1e-5)
        assert own.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(own[name], gradient, atol=1e-5 * max(scale, 1.0), rtol=0, msg=name)


def test_gather_batches_has_every_tensor_in_the_order_of_ranks(tmp_path):
    first, second = in_world(2, gathered_batch, tmp_path / "world", 2)
    for name in MatchBatch.__dataclass_fields__.keys() - {"teacher_grid"}:
        assert torch.equal(first[name], second[name]), name
    assert first["label"].tolist() == [0, 1, 10, 11]
    assert first["left_id"].tolist() == [0, 1, 100, 101]
    assert first["right_id"].tolist() == [50, 51, 150, 151]
    assert first["right"][:, 0].tolist() == [0, 0, 2, 2]
    assert first["teacher_left"][:, 4].tolist() == [0.5, 0.5, 1.5, 1.5]
    assert first["teacher_pair"].tolist() == [0, 0, 1, 1]
    # own rows alone, times the number of ranks
    assert first["gradient"][:, 0].tolist() == [2 * 1, 2 * 2]
    assert second["gradient"][:, 0].tolist() == [2 * 3, 2 * 4]
    assert first["has_gradient"].tolist() == [0, 1]


def test_gather_batches_on_one_process_returns_the_batch():
    batch = MatchBatch(label=torch.ones(2))
    assert gather_batches(batch) is batch
