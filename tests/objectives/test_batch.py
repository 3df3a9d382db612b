"""MatchBatch: derived views, what is masked, what is refused."""

import pickle
from dataclasses import replace

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch, MissingTensorError, mean_or_zero


def test_similarity_is_the_float32_product_for_bfloat16_too(make_batch):
    batch = make_batch(4, columns=6)
    expected = [
        [sum(x * y for x, y in zip(a, b, strict=True)) for b in batch.right.tolist()] for a in batch.left.tolist()
    ]
    torch.testing.assert_close(batch.similarity, torch.tensor(expected))
    half = MatchBatch(left=batch.left.bfloat16(), right=batch.right.bfloat16())
    assert half.similarity.dtype == torch.float32
    torch.testing.assert_close(half.similarity, half.left.float() @ half.right.float().T, rtol=0, atol=0)


def test_autocast_does_not_round_the_similarity(make_batch):
    batch = make_batch(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = batch.similarity
    assert inside.dtype == torch.float32
    assert torch.equal(inside, batch.similarity)


@pytest.mark.parametrize("columns", [4, 7])
def test_pair_similarity_is_the_diagonal(make_batch, columns):
    batch = make_batch(4, columns=columns)
    torch.testing.assert_close(batch.pair_similarity, batch.similarity.diagonal())


def test_teacher_is_the_pair_score_else_the_diagonal_and_has_no_gradient(make_batch):
    grid = torch.rand(3, 5, requires_grad=True)
    batch = make_batch(3, columns=5, teacher_grid=grid)
    assert batch.teacher.tolist() == [grid[i, i].item() for i in range(3)]
    assert not batch.teacher.requires_grad
    assert not batch.teacher_similarity.requires_grad
    pair = torch.tensor([0.5, 0.25, 0.125], dtype=torch.bfloat16, requires_grad=True)
    given = make_batch(3, columns=5, teacher_grid=grid, teacher_pair=pair)
    assert given.teacher.tolist() == [0.5, 0.25, 0.125]
    assert given.teacher.dtype == torch.float32
    assert not given.teacher.requires_grad


def test_match_batch_score_is_yes_minus_no():
    batch = MatchBatch(answers=torch.tensor([[1.0, 3.0], [2.0, -1.0]], dtype=torch.bfloat16))
    assert batch.score.tolist() == [2.0, -3.0]
    assert batch.score.dtype == torch.float32


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [6, 9])
def test_valid_mask_is_false_for_in_batch_duplicates(seed, columns):
    random = torch.Generator().manual_seed(seed)
    left = torch.randint(0, 8, (6,), generator=random)
    right = torch.randint(0, 8, (columns,), generator=random)
    a, b = left.tolist(), right.tolist()
    expected = [
        [i == j or not (b[j] == b[i] or (j < 6 and a[j] == a[i]) or b[j] == a[i]) for j in range(columns)]
        for i in range(6)
    ]
    assert MatchBatch(left_id=left, right_id=right).valid_mask.tolist() == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("columns", [6, 9])
def test_label_mask_has_the_cells_of_pairs_with_that_label_in_either_order(make_batch, seed, columns):
    batch = make_batch(6, columns=columns, seed=seed, left_id=None, right_id=None)
    random = torch.Generator().manual_seed(seed)
    ids = {"left_id": torch.randint(0, 4, (6,), generator=random)}
    ids["right_id"] = torch.randint(0, 4, (columns,), generator=random)
    left, right, label = ids["left_id"].tolist(), ids["right_id"].tolist(), batch.label.tolist()
    for value in (0, 1):
        pairs = [(left[k], right[k]) for k in range(6) if label[k] == value]
        expected = [[(a, b) in pairs or (b, a) in pairs for b in right] for a in left]
        assert replace(batch, **ids).label_mask(value).tolist() == expected
        assert torch.equal(batch.label_mask(value), batch.pair_mask & (batch.label == value)[:, None])
        assert not replace(batch, label=None, **ids).label_mask(value).any()


def test_valid_mask_without_ids_is_all_true():
    assert MatchBatch(label=torch.zeros(3)).valid_mask.all()


@pytest.mark.parametrize(
    "view, name, hint",
    [
        ("similarity", "left", "readout"),
        ("pair_similarity", "left", "readout"),
        ("teacher_similarity", "teacher_grid", "bi-encoder"),
        ("teacher", "teacher_pair", "flipkd teach"),
        ("score", "answers", "label words"),
    ],
)
def test_match_batch_view_of_a_missing_tensor_names_the_tensor_and_the_remedy(view, name, hint):
    with pytest.raises(MissingTensorError, match=rf"needs {name}.*it has \['label'\].*{hint}") as caught:
        getattr(MatchBatch(label=torch.zeros(2)), view)
    assert isinstance(caught.value, ConfigError)
    assert (caught.value.name, caught.value.available) == (name, ["label"])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (MissingTensorError, str(caught.value))


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"label": torch.zeros(3), "teacher_pair": torch.zeros(3, 1)}, r"teacher_pair has shape \[3, 1\].*\[N\].*N=3"),
        ({"label": torch.zeros(3), "answers": torch.zeros(2, 2)}, r"label has shape \[3\].*N=2"),
        ({"answers": torch.zeros(3, 5)}, r"answers has shape \[3, 5\]"),
        ({"left": torch.zeros(3, 4), "right": torch.zeros(3, 5)}, r"right has shape.*D=4"),
        ({"left": torch.zeros(3, 4), "right": torch.zeros(2, 4)}, "give one for each pair"),
        ({"left_id": torch.zeros(3)}, "ids of one side only"),
        ({}, "a tensor with an axis N"),
        ({"right": torch.zeros(3, 4)}, r"a tensor with an axis N.*\['right'\]"),
    ],
)
def test_match_batch_refuses_shapes_that_disagree(tensors, message):
    with pytest.raises(ConfigError, match=message):
        MatchBatch(**tensors)


def test_mean_or_zero_of_no_terms_is_0_with_a_gradient():
    source = torch.tensor([float("inf"), 1.0], requires_grad=True)
    loss = mean_or_zero(source[torch.tensor([False, False])])
    loss.backward()
    assert loss.item() == 0
    assert source.grad.tolist() == [0, 0]
    assert mean_or_zero(torch.tensor([1.0, 2.0, 6.0])).item() == 3


def test_mean_or_zero_has_no_gradient_outside_its_mask():
    source = torch.tensor([float("inf"), 1.0, 2.0, float("nan")], requires_grad=True)
    loss = mean_or_zero(source, torch.tensor([False, True, True, False]))
    loss.backward()
    assert loss.item() == 1.5
    assert source.grad.tolist() == [0, 0.5, 0.5, 0]
    none = mean_or_zero(source, torch.zeros(4, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(none, source)
    assert none.item() == 0
    assert gradient.tolist() == [0, 0, 0, 0]


def test_mean_or_zero_with_weights_is_the_weighted_mean():
    terms = torch.tensor([1.0, 2.0, 30.0], requires_grad=True)
    mean = mean_or_zero(terms, torch.tensor([True, True, False]), torch.tensor([0.1, 0.3, 5.0]))
    mean.backward()
    assert mean.item() == pytest.approx(0.7 / 0.4)
    assert terms.grad.tolist() == pytest.approx([0.25, 0.75, 0.0])
    assert mean_or_zero(terms, torch.zeros(3, dtype=torch.bool), torch.ones(3)).item() == 0
