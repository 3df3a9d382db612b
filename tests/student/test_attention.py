"""Grouped attention against plain loops and against torch's kernel in a model, and the choice of attention."""

import pytest
import torch
from tiny import FAMILY_AND_READING

from flipkd.errors import ConfigError
from flipkd.student.attention import GROUPED, grouped_attention
from flipkd.student.language_model import load_language_model
from flipkd.student.scoring import score_pairs


def plain_attention(query, key, value, mask, *, scaling, softcap):
    rows, heads, length, _ = query.shape
    shared = heads // key.shape[1]
    out = torch.zeros(rows, length, heads, value.shape[-1])
    for row in range(rows):
        for head in range(heads):
            scores = query[row, head] @ key[row, head // shared].T * scaling
            scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
            weights = (scores + mask[row, 0]).softmax(dim=-1)
            out[row, :, head] = weights @ value[row, head // shared]
    return out


@pytest.mark.parametrize("heads,groups", [(4, 1), (4, 2), (3, 3)])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_grouped_attention_equals_plain_loops(heads, groups, softcap):
    random = torch.Generator().manual_seed(0)
    tensors = [torch.randn(2, n, 5, 8, generator=random).requires_grad_() for n in (heads, groups, groups)]
    mask = torch.zeros(2, 1, 5, 5).masked_fill(~torch.ones(5, 5, dtype=torch.bool).tril(), -1e30)
    found, _ = grouped_attention(torch.nn.Module(), *tensors, mask, scaling=0.3, softcap=softcap)
    expected = plain_attention(*tensors, mask, scaling=0.3, softcap=softcap)
    torch.testing.assert_close(found, expected)
    direction = torch.randn(found.shape, generator=random)
    ours = torch.autograd.grad((found * direction).sum(), tensors)
    torch.testing.assert_close(ours, torch.autograd.grad((expected * direction).sum(), tensors))


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_grouped_attention_scores_equal_sdpa_and_eager(make_student, family, reading):
    left, right = ["my card was lost", "fee"], ["where is the card", "a long question about a fee abroad"]
    scores = {}
    for attention in (GROUPED, "sdpa", "eager"):
        student, _ = make_student(family, reading=reading, attn_implementation=attention)
        scores[attention] = score_pairs(student, left, right, return_embeddings=True)
    for other in ("sdpa", "eager"):
        assert scores[GROUPED].answer == pytest.approx(scores[other].answer, abs=1e-4)
        assert scores[GROUPED].cosine == pytest.approx(scores[other].cosine, abs=1e-4)


def test_choose_attention_auto_is_grouped_on_a_cpu(base_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = load_language_model(str(base_model), dtype="float32")
    assert model.config._attn_implementation == GROUPED
    model = load_language_model(str(base_model), dtype="float32", attn_implementation="sdpa")
    assert model.config._attn_implementation == "sdpa"


def test_grouped_attention_refuses_further_tensors():
    tensor = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ConfigError, match=r"passes 's_aux' to its attention, .*; set attn_implementation to eager"):
        grouped_attention(torch.nn.Module(), tensor, tensor, tensor, None, s_aux=torch.zeros(2))
