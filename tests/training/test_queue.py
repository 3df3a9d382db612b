"""The queue: newest first, no more than its size, without gradient, and kept whole by a checkpoint."""

from __future__ import annotations

import torch

from flipkd.training.checkpoints import last_valid_checkpoint
from flipkd.training.module import DistillationModule
from flipkd.training.queue import Queue
from flipkd.training.run import fresh_student, run_objectives
from flipkd.training.trainer import fit


def columns(start: int, count: int) -> dict[str, torch.Tensor]:
    ids = torch.arange(start, start + count)
    return {"right": ids[:, None] * torch.ones(1, 3), "right_id": ids}


def test_queue_appends_the_batch_and_drops_the_oldest():
    queue = Queue(4)
    assert queue.extend(columns(0, 3))["right_id"].tolist() == [0, 1, 2]
    assert queue.extend(columns(3, 3))["right_id"].tolist() == [3, 4, 5, 0, 1, 2]
    found = queue.extend(columns(6, 2))
    assert found["right_id"].tolist() == [6, 7, 3, 4, 5, 0]
    assert found["right"][:, 0].tolist() == found["right_id"].tolist()


def test_queue_keeps_columns_without_gradient():
    queue, right = Queue(4), torch.ones(2, 3, requires_grad=True)
    assert queue.extend({"right": right})["right"].requires_grad
    whole = queue.extend({"right": torch.zeros(1, 3)})["right"]
    assert not whole.requires_grad


def test_queue_state_is_restored():
    queue, other = Queue(4), Queue(4)
    queue.extend(columns(0, 3))
    other.restore({name: value.clone() for name, value in queue.state().items()})
    assert set(queue.state()) == {"queue.right", "queue.right_id"}
    for one, two in zip(queue.extend(columns(3, 2)).values(), other.extend(columns(3, 2)).values(), strict=True):
        assert torch.equal(one, two)
    assert Queue(4).state() == {}


def test_a_checkpoint_after_the_first_step_has_the_queue(make_config, table, tmp_path):
    config = make_config(objectives={"in_batch_kl": 1.0})
    module = DistillationModule(fresh_student(config)[0], run_objectives(config, table, table), queue_size=3)
    fit(module, table, output_dir=tmp_path, arguments={"max_steps": 1, "save_steps": 1, "disable_tqdm": True})
    assert last_valid_checkpoint(tmp_path).name == "checkpoint-1"
    assert module.queue.state()["queue.right"].is_contiguous()
