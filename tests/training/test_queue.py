"""The queue: newest first, no more than its size, without gradient, and kept whole by a checkpoint."""

from __future__ import annotations

import torch

from flipkd.training.queue import Queue


def columns(start: int, count: int) -> dict[str, torch.Tensor]:
    ids = torch.arange(start, start + count)
    return {"right": ids[:, None] * torch.ones(1, 3), "right_id": ids}


def test_a_batch_comes_first_and_the_oldest_leave():
    queue = Queue(4)
    assert queue.extended(columns(0, 3))["right_id"].tolist() == [0, 1, 2]
    assert queue.extended(columns(3, 3))["right_id"].tolist() == [3, 4, 5, 0, 1, 2]
    found = queue.extended(columns(6, 2))
    assert found["right_id"].tolist() == [6, 7, 3, 4, 5, 0]
    assert found["right"][:, 0].tolist() == found["right_id"].tolist()


def test_what_is_kept_has_no_gradient_and_the_batch_keeps_its_own():
    queue, right = Queue(4), torch.ones(2, 3, requires_grad=True)
    assert queue.extended({"right": right})["right"].requires_grad
    whole = queue.extended({"right": torch.zeros(1, 3)})["right"]
    assert not whole.requires_grad


def test_a_checkpoint_keeps_it():
    queue, other = Queue(4), Queue(4)
    queue.extended(columns(0, 3))
    other.restore({name: value.clone() for name, value in queue.state().items()})
    assert set(queue.state()) == {"queue.right", "queue.right_id"}
    for one, two in zip(queue.extended(columns(3, 2)).values(), other.extended(columns(3, 2)).values(), strict=True):
        assert torch.equal(one, two)
    assert Queue(4).state() == {}
