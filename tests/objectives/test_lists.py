"""Objectives of lists against plain loops, closed forms and what they must ignore."""

import math
from collections import defaultdict

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.objectives.answer import margin_mse, pairwise_pref_kl, ranknet_distill
from flipkd.objectives.batch import MatchBatch
from flipkd.objectives.lists import joint_lists, list_kl, list_softmax, self_distill_heads

LABEL = torch.tensor([1, 0, -1, 1, 0, 1, 0, 0])
LISTS = torch.tensor([3, 3, 3, 1, 1, 2, 4, 4])  # one list of one pair
LINE = {"teacher_slope": 1.7, "teacher_intercept": -0.4}


def softmax(scores):
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def rows_of_lists(batch):
    lists = defaultdict(list)
    for row, number in enumerate(batch.list_id.tolist()):
        lists[number].append(row)
    return list(lists.values())


def loop_list_kl(teacher, student, lists):
    terms = [
        kl(softmax([teacher[i] for i in rows]), softmax([student[i] for i in rows])) for rows in lists if rows[1:]
    ]
    return sum(terms) / len(terms)


@pytest.fixture
def batch(make_batch):
    return make_batch(label=LABEL, list_id=LISTS)


def test_list_kl_equals_plain_loops(batch):
    student = [score / 2 for score in batch.score.tolist()]
    teacher = [(1.7 * score - 0.4) / 0.5 for score in batch.teacher.tolist()]
    loss = list_kl(batch, temperature_student=2.0, temperature_teacher=0.5, **LINE)
    assert loss.item() == pytest.approx(loop_list_kl(teacher, student, rows_of_lists(batch)), rel=1e-5)


def test_joint_lists_and_self_distillation_equal_plain_loops(batch):
    answer, lists = batch.score.tolist(), rows_of_lists(batch)
    vectors = [value / 0.1 for value in batch.pair_similarity.tolist()]
    both = [a + b for a, b in zip(answer, vectors, strict=True)]
    assert joint_lists(batch, temperature=0.1).item() == pytest.approx(loop_list_kl(answer, vectors, lists), rel=1e-5)
    heads = [loop_list_kl(both, head, lists) for head in (answer, vectors)]
    assert self_distill_heads(batch, temperature=0.1).item() == pytest.approx(sum(heads) / 2, rel=1e-5)


def test_list_softmax_equals_plain_loops(batch):
    score, label, terms = batch.score.tolist(), LABEL.tolist(), []
    for rows in rows_of_lists(batch):
        negatives = [score[j] for j in rows if label[j] == 0]
        for i in (row for row in rows if label[row] == 1 and negatives):
            terms.append(-math.log(softmax([score[i] / 0.5, *(value / 0.5 for value in negatives)])[0]))
    assert len(terms) == 2
    assert list_softmax(batch, temperature=0.5).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_lists_in_closed_form():
    answers = torch.tensor([[0.0, 2.0], [0.0, 0.0], [0.0, 5.0]])
    batch = MatchBatch(
        answers=answers,
        label=torch.tensor([1, 0, 0]),
        teacher_pair=torch.zeros(3),
        list_id=torch.tensor([0, 0, 1]),
    )
    p = 1 / (1 + math.exp(-2))
    assert list_kl(batch).item() == pytest.approx(0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p)), rel=1e-5)
    assert list_softmax(batch).item() == pytest.approx(-math.log(p), rel=1e-5)


def test_gradient_of_list_kl_is_the_difference_of_both_softmaxes():
    score = torch.tensor([0.3, -1.0, 0.8], requires_grad=True)
    answers = torch.stack([torch.zeros(3), score], dim=1)
    batch = MatchBatch(answers=answers, teacher_pair=torch.tensor([1.0, 0.0, -1.0]), list_id=torch.zeros(3).long())
    list_kl(batch).backward()
    expected = score.detach().softmax(0) - batch.teacher.softmax(0)
    torch.testing.assert_close(score.grad, expected)


@pytest.mark.parametrize("objective", [list_kl, joint_lists, self_distill_heads])
def test_a_constant_for_each_list_changes_nothing(batch, objective):
    shift = torch.tensor([0.0, 3.0, -2.0, 1.0, 0.5])[LISTS]
    moved = batch.answers + torch.stack([torch.zeros(8), shift], dim=1)
    other = MatchBatch(**{name: getattr(batch, name) for name in batch.present} | {"answers": moved})
    assert objective(other).item() == pytest.approx(objective(batch).item(), rel=1e-4)


def test_lists_of_one_pair_teach_nothing(make_batch):
    batch = make_batch(label=LABEL, list_id=torch.arange(8))
    for objective in (list_kl, list_softmax, joint_lists, self_distill_heads):
        loss = objective(batch)
        loss.backward()
        assert loss.item() == 0
        assert not batch.answers.grad.any()


def test_joint_lists_detach_answer_stops_the_gradient_of_the_answer_alone(batch):
    joint_lists(batch).backward()
    assert batch.answers.grad.any()
    batch.answers.grad = None
    joint_lists(batch, detach_answer=True).backward()
    assert batch.answers.grad is None
    assert batch.left.grad.any()


def test_self_distill_heads_has_no_gradient_where_the_heads_agree(make_batch):
    vectors = torch.nn.functional.normalize(torch.randn(4, 5, generator=torch.Generator().manual_seed(1)), dim=1)
    cosines = (vectors * vectors.roll(1, 0)).sum(1)
    answers = torch.stack([torch.zeros(4), cosines / 0.5], dim=1)
    ids = {"left_id": torch.arange(4), "right_id": torch.arange(4, 8), "list_id": torch.zeros(4).long()}
    batch = make_batch(4, answers=answers, left=vectors, right=vectors.roll(1, 0).clone(), **ids)
    self_distill_heads(batch, temperature=0.5).backward()
    half = (cosines / 0.5).softmax(0) - (2 * cosines / 0.5).softmax(0)  # both are softer than their sum
    torch.testing.assert_close(batch.answers.grad[:, 1], half / 2, atol=1e-5, rtol=1e-4)
    flat = make_batch(4, answers=torch.zeros(4, 2), left=vectors, right=vectors.clone(), **ids)
    loss = self_distill_heads(flat)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(flat.answers.grad, torch.zeros(4, 2), atol=1e-6, rtol=0)


def test_the_comparisons_of_the_answer_can_stay_within_lists(batch):
    score, teacher, label = batch.score.tolist(), batch.teacher.tolist(), LABEL.tolist()
    pairs = [(i, j) for rows in rows_of_lists(batch) for i in rows for j in rows if i != j]
    margins = [
        (score[i] - score[j] - teacher[i] + teacher[j]) ** 2 for i, j in pairs if label[i] == 1 and label[j] == 0
    ]
    assert margin_mse(batch, lists=True).item() == pytest.approx(sum(margins) / len(margins), rel=1e-5)
    orders = [math.log1p(math.exp(score[j] - score[i])) for i, j in pairs if teacher[i] > teacher[j]]
    assert ranknet_distill(batch, lists=True).item() == pytest.approx(sum(orders) / len(orders), rel=1e-5)
    kls = [kl(softmax([teacher[i], teacher[j]]), softmax([score[i], score[j]])) for i, j in pairs]
    assert pairwise_pref_kl(batch, lists=True).item() == pytest.approx(sum(kls) / len(kls), rel=1e-4)


def test_lists_refuse_what_they_cannot_use(batch):
    with pytest.raises(ConfigError, match="temperature_student=0"):
        list_kl(batch, temperature_student=0)
    with pytest.raises(ConfigError, match="needs list_id"):
        list_kl(MatchBatch(answers=batch.answers, teacher_pair=batch.teacher))
