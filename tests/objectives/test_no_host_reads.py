"""No objective reads a device value on the host: that would stop the host at each step until a GPU has caught up.

Shown on tensors without values, for which a read and a shape that depends on a value both raise; and on a GPU if there is
one, which alone can show a `.cpu()`.
"""

import pytest
import torch
from build_objective import build_objective
from devices import GPU, on_gpu
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from flipkd.objectives import OBJECTIVES
from flipkd.objectives.batch import MatchBatch
from flipkd.tables import pick

DEVICE = "cuda" if GPU else "cpu"  # a build without CUDA cannot differentiate a made-up CUDA tensor
REPAIRED = {"apart": True, "active": True, "trust": True, "spread": 0.2, "teacher_std": 0.1}
ALL = 10**6  # comparisons: more than there are
CASES = [(name, {}) for name in OBJECTIVES] + [
    ("margin_mse", {"lists": True}),
    ("pairwise_pref_kl", {"lists": True}),
    ("ranknet_distill", {"lists": True}),
    ("ckd_info_nce", {"chunks": 2}),
    ("pair_head_kd", {"mixup": 0.5}),
    ("margin_hinge", {"theta_pos": None, "theta_neg": None}),
    ("margin_hinge", {"max_comparisons": 7}),
    ("margin_hinge", {"max_comparisons": ALL}),
    ("margin_hinge", REPAIRED),
    ("margin_hinge", REPAIRED | {"max_comparisons": 7, "off_diagonal": "negatives"}),
    ("margin_angular", {"theta_pos": None, "theta_neg": None}),
    ("margin_angular", {"own_range": True, "off_diagonal": "negatives"}),
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
    with FakeTensorMode() as mode, Copies(), torch.device("meta"):
        yield mode


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
        "list_id": torch.zeros(pairs, dtype=torch.long, device=DEVICE),
        "layer_states": torch.rand(pairs, 3, 6, device=DEVICE, requires_grad=True),
    }
    return MatchBatch(**tensors | replaced)


def objective_of(name, settings, mode=None):
    """The objective as a function; in a fake mode that of its class, which is built of values, has none either."""
    if not isinstance(pick(OBJECTIVES, name, what="objective"), type):
        return build_objective(name, MatchBatch(label=torch.zeros(1)), **settings)
    with unset_fake_temporarily(), _disable_current_modes(), torch.device(DEVICE):
        built = build_objective(name, batch_of(), **settings)
    if mode is None:
        return built
    tensors = dict(built.named_parameters()) | dict(built.named_buffers())
    without = {name: mode.from_tensor(tensor) for name, tensor in tensors.items()}
    return lambda batch: torch.func.functional_call(built, without, (batch,))


def differentiate(objective, batch):
    loss = objective(batch)
    loss.backward()
    trained = (batch.answers, batch.left, batch.right, batch.layer_states)
    gradients = [tensor.grad for tensor in trained if tensor.grad is not None]
    assert loss.shape == ()
    assert gradients
    assert all(gradient.device.type == DEVICE for gradient in gradients)


@each_case
@each_width
def test_objectives_read_no_device_value(without_values, name, settings, columns):
    differentiate(objective_of(name, settings, without_values), batch_of(columns=columns))


@pytest.mark.parametrize(
    "name",
    [
        "answer_with_teacher",
        "bernoulli_kd",
        "margin_mse",
        "pairwise_pref_kl",
        "ranknet_distill",
        "hard_kd",
        "jsd_kd",
        "standardised_kd",
        "sample_fusion",
        "list_kl",
        "pair_head_kd",
        "layer_score_kd",
        "score_mse",
        "margin_hinge",
    ],
)
@each_width
def test_objectives_read_no_device_value_with_pair_scores_alone(without_values, name, columns):
    pairs_alone = {"teacher_grid": None, "teacher_pair": torch.rand(8, device=DEVICE)}
    differentiate(objective_of(name, {}, without_values), batch_of(columns=columns, **pairs_alone))


@pytest.mark.parametrize("left_out", [["label"], ["left_id", "right_id"]])
@pytest.mark.parametrize("name", ["margin_hinge", "margin_angular", "in_batch_kl", "score_mse"])
def test_objectives_read_no_device_value_without_labels_or_ids(without_values, name, left_out):
    differentiate(objective_of(name, {}, without_values), batch_of(**dict.fromkeys(left_out)))


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
        batch, objective = batch_of(columns=columns), objective_of(name, settings)
        differentiate(objective, batch)  # kernels are loaded on first use
        torch.cuda.set_sync_debug_mode("error")
        try:
            differentiate(objective, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
