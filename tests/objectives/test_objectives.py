"""Properties of every objective in OBJECTIVES."""

import subprocess
import sys
from dataclasses import replace
from inspect import signature

import pytest
import torch
from build_objective import build_objective

from flipkd import objectives
from flipkd.objectives import OBJECTIVES
from flipkd.objectives.batch import MatchBatch
from flipkd.tables import pick

TRAINED = ("answers", "left", "right", "layer_states")
LEARN_FROM_ONE_UNLABELLED_PAIR = {
    "bernoulli_kd",
    "ckd_info_nce",
    "embed_align",
    "hard_kd",
    "jsd_kd",
    "layer_score_kd",
    "lelp_subclass",
    "mixed_gram",
    "pair_head_kd",
    "sample_fusion",
    "score_mse",
    "similarity_preserving",
    "wcord",
}
CONTRAST = ("adaptive_margin", "attract_repel", "gaussian_decay_info_nce", "passage_info_nce")
TEACHER = ("teacher_grid", "teacher_left", "teacher_right")
each_objective = pytest.mark.parametrize("name", OBJECTIVES)


def value(name, batch, built_for=None):
    objective = build_objective(name, batch if built_for is None else built_for)
    torch.manual_seed(0)  # of those that draw
    return objective(batch)


def trained(batch):
    return [tensor for name in TRAINED if (tensor := getattr(batch, name)) is not None]


@each_objective
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_objectives_return_one_float32_number_with_finite_gradients(make_batch, name, dtype):
    batch = make_batch()
    given = {part: getattr(batch, part).detach().to(dtype) for part in (*TRAINED, "teacher_grid")}
    label = torch.tensor([1, 0, -1, 1, 0, 1, 0, -1])  # both classes, or margin_mse has nothing to compare
    batch = make_batch(**given, teacher_pair=None, label=label)
    loss = value(name, batch)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    loss.backward()
    gradients = [tensor.grad for tensor in trained(batch) if tensor.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)
    assert all(gradient.dtype == dtype for gradient in gradients)


@each_objective
def test_objectives_have_finite_gradients_at_extreme_similarities(make_batch, name):
    same = torch.zeros(6, 5)
    same[:, 0] = 1
    left = same * torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])[:, None]
    batch = make_batch(6, left=left, right=same.clone(), answers=torch.tensor([[1e4, -1e4]] * 6))
    loss = value(name, batch)
    loss.backward()
    assert loss.isfinite()
    assert all(tensor.grad.isfinite().all() for tensor in trained(batch) if tensor.grad is not None)


@pytest.mark.scenario("N4")
@each_objective
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_objectives_are_finite_and_not_below_zero_for_teacher_scores_of_any_size(make_batch, name, size):
    grid = size * torch.tensor([[1.0, -1.0, 0.5], [-1.0, 1.0, 0.0], [0.25, -0.5, -1.0]])
    label = torch.tensor([1, 0, 1])
    batch = make_batch(3, teacher_grid=grid, teacher_pair=grid.diagonal().clone(), label=label)
    loss = value(name, batch)
    loss.backward()
    assert loss.isfinite()
    assert loss >= -1e-5
    assert all(tensor.grad.isfinite().all() for tensor in trained(batch) if tensor.grad is not None)


@each_objective
def test_objectives_give_the_teacher_no_gradient(make_batch, name):
    teacher = {part: getattr(make_batch(), part).clone().requires_grad_() for part in TEACHER}
    value(name, make_batch(**teacher)).backward()
    assert all(tensor.grad is None for tensor in teacher.values())


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"simcse"}))  # which draws zeros for each text
@pytest.mark.parametrize("seed", range(3))
def test_objectives_do_not_depend_on_the_order_of_the_pairs(make_batch, name, seed):
    batch = make_batch(seed=seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    shuffled = {part: getattr(batch, part)[order] for part in batch.present if part != "teacher_grid"}
    grid = batch.teacher_grid[order][:, order]
    shuffled_value = value(name, MatchBatch(**shuffled, teacher_grid=grid), built_for=batch)
    torch.testing.assert_close(shuffled_value, value(name, batch))


@each_objective
def test_objectives_are_not_changed_by_autocast(make_batch, name):
    batch = make_batch()
    objective = build_objective(name, batch)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = objective(batch)
    torch.testing.assert_close(inside, value(name, batch), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - LEARN_FROM_ONE_UNLABELLED_PAIR))
def test_objectives_of_one_unlabelled_pair_are_zero_and_backward_works(make_batch, name):
    batch = replace(make_batch(1), label=torch.tensor([-1]))
    loss = value(name, batch)
    loss.backward()
    assert loss.item() == 0, "an objective that uses a single unlabelled pair is in LEARN_FROM_ONE_UNLABELLED_PAIR"
    assert all(not tensor.grad.any() for tensor in trained(batch) if tensor.grad is not None)


@each_objective
def test_objectives_of_no_pair_are_zero_and_backward_works(make_batch, name):
    whole = make_batch()
    none = {part: getattr(whole, part)[:0].detach() for part in whole.present if part != "teacher_grid"}
    batch = make_batch(**none, teacher_grid=torch.zeros(0, 0))
    loss = value(name, batch, built_for=whole)
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("name", ["info_nce", *CONTRAST])
def test_objectives_take_no_match_of_another_pair_as_a_negative(make_batch, name):
    ids = {"left_id": torch.tensor([0, 0, 1, 2]), "right_id": torch.tensor([10, 11, 11, 12])}
    batch = make_batch(4, **ids, label=torch.tensor([1, 1, -1, 0]))  # row 0, column 2: the texts of pair 1, a match
    value(name, batch).backward()
    assert batch.right.grad[3].any()
    assert not batch.right.grad[2].any()


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"ckd_info_nce"}))  # where it is a candidate of other texts
def test_objectives_ignore_a_column_without_valid_cells(make_batch, name):
    ids = {"left_id": torch.tensor([7, 7, 7, 1, 2, 3]), "right_id": torch.tensor([4, 5, 6, 7, 7, 7, 7])}
    label = torch.tensor([1, 0, -1, 1, 0, 1])
    wide = make_batch(6, columns=7, label=label, **ids)  # every pair has text 7, which is the last column
    assert not wide.valid_mask[:, 6].any()
    cut = {part: getattr(wide, part)[:6].detach() for part in ("right", "teacher_right", "right_id")}
    narrow = replace(wide, **cut, teacher_grid=wide.teacher_grid[:, :6])
    with torch.autograd.set_detect_anomaly(True):  # fails for a NaN that a mask hides
        loss = value(name, wide)
        loss.backward()
    torch.testing.assert_close(loss, value(name, narrow))
    gradients = [tensor.grad for tensor in trained(wide) if tensor.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert wide.right.grad is None or not wide.right.grad[6].any()


@each_objective
def test_settings_of_objectives_are_keyword_only_and_documented(name):
    function = pick(OBJECTIVES, name, what="objective")
    settings = list(signature(function).parameters.values())
    if not isinstance(function, type):
        assert settings.pop(0).name == "batch"
    assert all(setting.kind is setting.KEYWORD_ONLY for setting in settings)
    assert "arXiv" in (function.__doc__ + sys.modules[function.__module__].__doc__)


def test_the_objectives_package_imports_without_torch_and_has_every_name():
    command = "import sys, flipkd.objectives; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
    for name in objectives.__all__:
        assert getattr(objectives, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = objectives.no_such_name
