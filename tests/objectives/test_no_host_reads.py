"""No objective reads a device value on the host: that would stop the host at each step until a GPU has caught up.

Shown on tensors without values, for which a read and a shape that depends on a value both raise; and on a GPU if there is
one, which alone can show a `.cpu()`.
"""

import pytest
import torch
from devices import GPU, on_gpu
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flipkd.objectives import OBJECTIVES
from flipkd.objectives.batch import MatchBatch
from flipkd.tables import pick

DEVICE = "cuda" if GPU else "cpu"  # a build without CUDA cannot differentiate a made-up CUDA tensor
KNOBS = {name: {"theta_pos": 0.3, "theta_neg": -0.3} for name in ("margin_hinge", "margin_angular")}
REPAIRED = {"apart": True, "active": True, "trust": True, "spread": 0.2, "teacher_std": 0.1}
ALL = 10**6  # comparisons: more than there are
CASES = [(name, KNOBS.get(name, {})) for name in OBJECTIVES] + [
    ("margin_hinge", {"theta_pos": None, "theta_neg": None}),
    ("margin_hinge", KNOBS["margin_hinge"] | {"max_comparisons": 7}),
    ("margin_hinge", KNOBS["margin_hinge"] | {"max_comparisons": ALL}),
    ("margin_hinge", KNOBS["margin_hinge"] | REPAIRED),
    ("margin_hinge", KNOBS["margin_hinge"] | REPAIRED | {"max_comparisons": 7, "off_diagonal": "negatives"}),
    ("margin_angular", {"theta_pos": None, "theta_neg": None}),
    ("margin_angular", KNOBS["margin_angular"] | {"own_range": True, "off_diagonal": "negatives"}),
    ("teacher_rank_hinge", {"max_comparisons": 7}),
    ("teacher_rank_hinge", {"max_comparisons": ALL}),
    ("rkd_angle", {"max_comparisons": 7}),
    ("rkd_angle", {"max_comparisons": ALL}),
    ("in_batch_kl", {"symmetric": False}),
]
each_case = pytest.mark.parametrize(("name", "settings"), CASES)
each_width = pytest.mark.parametrize("columns", [8, 13])


COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
FROM_A_LIST = torch.ops.aten.lift_fresh.default  # what torch.tensor ends with


class Copies(TorchDispatchMode):
    """Refuses a copy from one device to another: such a copy waits, even that of a number or a list of the host.

    An operation of tensors on several devices copies as well, but for the scalars that torch passes on as arguments.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device for tensor in tensors if tensor.dim() or function in COPIES}
        if function is FROM_A_LIST or len(devices) > 1:
            raise RuntimeError(f"{function} copies between devices")
        return result


@pytest.fixture
def without_values():
    """Give new tensors no values, and put those made without a device on another device."""
    with FakeTensorMode(), Copies(), torch.device("meta"):
        yield


def batch_of(pairs=8, columns=8, **replaced):
    tensors = {
        "answers": torch.rand(pairs, 2, device=DEVICE, requires_grad=True),
        "label": torch.zeros(pairs, dtype=torch.long, device=DEVICE),
        "left": torch.rand(pairs, 5, device=DEVICE, requires_grad=True),
        "right": torch.rand(columns, 5, device=DEVICE, requires_grad=True),
        "teacher_grid": torch.rand(pairs, columns, device=DEVICE),
        "teacher_left": torch.rand(pairs, 3, device=DEVICE),
        "teacher_right": torch.rand(columns, 3, device=DEVICE),
        "pair_id": torch.zeros(pairs, dtype=torch.long, device=DEVICE),
        "left_id": torch.zeros(pairs, dtype=torch.long, device=DEVICE),
        "right_id": torch.zeros(columns, dtype=torch.long, device=DEVICE),
    }
    return MatchBatch(**tensors | replaced)


def differentiate(objective, batch, **settings):
    loss = objective(batch, **settings)
    loss.backward()
    gradients = [tensor.grad for tensor in (batch.answers, batch.left, batch.right) if tensor.grad is not None]
    assert loss.shape == ()
    assert gradients
    assert all(gradient.device.type == DEVICE for gradient in gradients)


@each_case
@each_width
def test_objectives_read_no_device_value(without_values, name, settings, columns):
    differentiate(pick(OBJECTIVES, name, what="objective"), batch_of(columns=columns), **settings)


@pytest.mark.parametrize(
    "name",
    [
        "answer_with_teacher",
        "bernoulli_kd",
        "margin_mse",
        "pairwise_pref_kl",
        "ranknet_distill",
        "score_mse",
        "margin_hinge",
    ],
)
@each_width
def test_objectives_read_no_device_value_with_pair_scores_alone(without_values, name, columns):
    pairs_alone = {"teacher_grid": None, "teacher_pair": torch.rand(8, device=DEVICE)}
    objective = pick(OBJECTIVES, name, what="objective")
    differentiate(objective, batch_of(columns=columns, **pairs_alone), **KNOBS.get(name, {}))


@pytest.mark.parametrize("left_out", [["label"], ["left_id", "right_id"]])
@pytest.mark.parametrize("name", ["margin_hinge", "margin_angular", "in_batch_kl", "score_mse"])
def test_objectives_read_no_device_value_without_labels_or_ids(without_values, name, left_out):
    objective = pick(OBJECTIVES, name, what="objective")
    differentiate(objective, batch_of(**dict.fromkeys(left_out)), **KNOBS.get(name, {}))


class ReadsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(context, tensor):
        return tensor.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * gradient.sum().item()


@pytest.mark.parametrize(
    ("objective", "error"),
    [
        (lambda batch: batch.score[batch.label == 1].sum(), DynamicOutputShapeException),
        (lambda batch: batch.score[(batch.label == 1).nonzero()].sum(), DynamicOutputShapeException),
        (lambda batch: batch.score.sum() / int((batch.label == 1).sum()), DataDependentOutputException),
        (
            lambda batch: batch.score.sum() if (batch.label == 1).any() else batch.score[0],
            DataDependentOutputException,
        ),
        (lambda batch: batch.score.sum() * batch.label.tolist()[0], DataDependentOutputException),
        (lambda batch: ReadsInBackward.apply(batch.score).sum(), DataDependentOutputException),
        (lambda batch: batch.score[torch.arange(3)].sum(), RuntimeError),
        (lambda batch: batch.score[torch.arange(3).to(batch.label.device)].sum(), RuntimeError),
        (lambda batch: (batch.score * torch.tensor(2.0, device=batch.label.device)).sum(), RuntimeError),
    ],
)
def test_without_values_catches_an_objective_that_reads_or_copies(without_values, objective, error):
    with pytest.raises(error):
        differentiate(objective, batch_of())


@on_gpu
@each_width
def test_objectives_never_wait_for_a_gpu(columns):
    for name, settings in CASES:
        batch, objective = batch_of(columns=columns), pick(OBJECTIVES, name, what="objective")
        differentiate(objective, batch, **settings)  # kernels are loaded on first use
        torch.cuda.set_sync_debug_mode("error")
        try:
            differentiate(objective, batch, **settings)
        finally:
            torch.cuda.set_sync_debug_mode("default")
