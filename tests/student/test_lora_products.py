"""Number of matrix products of a student whose LoRA layers share their inputs."""

from __future__ import annotations

from collections import Counter

from tiny import randomise
from torch.utils._python_dispatch import TorchDispatchMode

from flipkd.student.lora import Adapters

LEFT, RIGHT = ["my card was stolen", "pin"], ["where is my transfer", "fee"]


class ProductCounter(TorchDispatchMode):
    """Count matrix products."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.seen[name] += 1
        return function(*args, **(kwargs or {}))

    @property
    def count(self):
        return sum(self.seen[name] for name in ("mm", "addmm", "addmm_", "bmm"))


def test_shared_lora_siblings_need_fewer_products(make_student):
    student, _ = make_student()
    randomise(student).train()
    batch = student.collate(LEFT, RIGHT, return_embeddings=False)

    def count():
        with ProductCounter() as forward:
            answers = student(batch, return_embeddings=False).answers
        with ProductCounter() as backward:
            answers.sum().backward()
        return Counter(forward=forward.count, backward=backward.count, additions=backward.seen["add"])

    shared = count()
    student.adapters = Adapters(student.model)  # without a pass that finds siblings
    separate = count()
    # Forward: q, k, v need two products less, gate and up one less. Backward: the same for the gradients of A and of x.
    separate.subtract(shared)
    layers = student.language_model.config.num_hidden_layers
    assert separate["forward"] == 3 * layers
    assert separate["backward"] == 2 * 3 * layers - 2  # the first layer's input needs no gradient
    assert separate["additions"] == 3 * layers - 2
