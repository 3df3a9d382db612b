"""Packed against padded rows: equal answers, embeddings and gradients in every reading; every query attends to a key."""

from __future__ import annotations

import pytest
import torch
from tiny import FAMILY_AND_READING, randomise

from flipkd.errors import ConfigError
from flipkd.student import attention
from flipkd.student.attention import GROUPED, PACKED, choose_attention
from flipkd.student.packing import last_states, pad_rows, padder, unpad_rows
from flipkd.student.rows import pack, pad
from flipkd.student.scoring import encode_texts, score_pairs

LEFT = ["my card was stolen yesterday", "pin", "where is my transfer", "pin"]
RIGHT = ["the machine kept my card", "can I change the pin of my card", "fee", "pin"]


def gradients(student, batch):
    student.zero_grad()
    output = student(batch)
    loss = (output.answers * torch.tensor([1.0, -0.5])).sum() + (output.left * output.right.flip(0)).sum()
    loss.backward()
    return output, {name: p.grad for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_packed_attention_equals_padded_rows_with_gradients(make_student, family, reading):
    found = {}
    for name in (GROUPED, PACKED):
        student, _ = make_student(family, reading=reading, attn_implementation=name)
        assert student.padding_free is (name == PACKED)
        found[name] = gradients(randomise(student), student.collate(LEFT, RIGHT, return_embeddings=True))
    (padded, expected), (packed, ours) = found[GROUPED], found[PACKED]
    for part in ("answers", "left", "right"):
        torch.testing.assert_close(getattr(packed, part), getattr(padded, part), atol=1e-5, rtol=1e-5)
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5 * float(gradient.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_packed_scores_and_embeddings_equal_those_of_padded_rows(make_student, family, reading):
    scores, vectors = {}, {}
    for name in (GROUPED, PACKED):
        student, _ = make_student(family, reading=reading, attn_implementation=name)
        randomise(student)
        scores[name] = score_pairs(student, LEFT, RIGHT, return_embeddings=True, batch_size=3)
        vectors[name] = encode_texts(student, LEFT)
    assert scores[PACKED].answer == pytest.approx(scores[GROUPED].answer, abs=1e-5)
    assert scores[PACKED].cosine == pytest.approx(scores[GROUPED].cosine, abs=1e-5)
    assert vectors[PACKED] == pytest.approx(vectors[GROUPED], abs=1e-5)


def test_packed_attention_respects_the_sliding_window(make_student):
    found = {}
    for name in (GROUPED, PACKED):
        student, _ = make_student("gemma3", max_text_length=100, attn_implementation=name)
        student.language_model.config.sliding_window = 40
        for layer in student.language_model.model.layers:
            layer.self_attn.sliding_window = 40 if layer.self_attn.is_sliding else None
        randomise(student)
        batch = student.collate([" ".join(LEFT * 8), "pin"], [" ".join(RIGHT * 8), "fee"], return_embeddings=True)
        assert batch["segment"].shape[1] > 80
        with torch.no_grad():
            found[name] = student(batch)
    torch.testing.assert_close(found[PACKED].answers, found[GROUPED].answers, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
@pytest.mark.parametrize("implementation", [PACKED, GROUPED, "sdpa", "eager"])
def test_packed_attention_of_every_query_is_to_at_least_one_key(
    make_student, monkeypatch, family, reading, implementation
):
    """In training and scoring, with and without a prefix cache: on CUDA a query without keys gives NaN."""
    from transformers import AttentionInterface
    from transformers.models.gemma3 import modeling_gemma3
    from transformers.models.llama import modeling_llama
    from transformers.models.qwen2 import modeling_qwen2

    seen = []

    def recorded(inner):
        def attend(module, query, key, value, mask, *args, **settings):
            seen.append((query.shape, key.shape, mask))
            return inner(module, query, key, value, mask, *args, **settings)

        return attend

    student, _ = make_student(family, reading=reading, attn_implementation=implementation)
    if implementation == "eager":
        for module in (modeling_gemma3, modeling_llama, modeling_qwen2):
            monkeypatch.setattr(module, "eager_attention_forward", recorded(module.eager_attention_forward))
    elif implementation == PACKED:
        monkeypatch.setattr(attention, "grouped_attention", recorded(attention.grouped_attention))
    else:
        inner = AttentionInterface._global_mapping[implementation]
        monkeypatch.setitem(AttentionInterface._global_mapping, implementation, recorded(inner))
    student(student.collate(LEFT, RIGHT, return_embeddings=True))
    if student.can_cache_head and not student.padding_free:
        head = student.encode_prefix(student.prompt.head)
        batch = student.collate(LEFT, RIGHT, return_embeddings=True, drop_head=True)
        student(batch, prefix=head, text_prefix=head)
    score_pairs(student, LEFT, RIGHT, return_embeddings=True)
    score_pairs(student, ["pin"] * 3, RIGHT[:3])
    encode_texts(student, LEFT)
    assert seen
    for query, key, mask in seen:
        if mask is None:  # the kernel's own causal mask, in which the first query attends to the first key
            assert query[2] in (key[2], 1)
            continue
        attends = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        assert attends.any(dim=-1).all(), f"{implementation}: {mask.shape}"


def test_pad_rows_and_unpad_rows_are_inverse(tokenizer):
    from flipkd.student.prompt import Prompt, Template

    rows = Prompt(tokenizer, Template(), max_text_length=16).pair_rows(LEFT, RIGHT)
    packed, padded = pack(rows), pad(rows, padding_id=0)
    indices = packed["gather"], packed["scatter"]
    x = torch.randn(len(packed["scatter"]), 3, dtype=torch.float64, requires_grad=True)
    repadded = pad_rows(x, *indices)
    assert repadded.shape[0] == padded["segment"].numel()
    assert torch.equal(unpad_rows(repadded, *indices), x)
    assert torch.autograd.gradcheck(lambda x: unpad_rows(pad_rows(x, *indices) * 2, *indices), x)
    y = torch.randn(repadded.shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: unpad_rows(y, *indices), y)


def test_choose_attention_auto_is_packed_only_on_a_gpu(make_student, monkeypatch):
    assert not make_student()[0].padding_free
    monkeypatch.setattr(attention, "best_device", lambda: "cuda")
    assert make_student()[0].padding_free
    assert not make_student(attn_implementation="sdpa")[0].padding_free


def test_choose_attention_never_packs_layers_with_other_state(monkeypatch):
    from transformers import Lfm2Config, Lfm2ForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    layers = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
    model = Lfm2ForCausalLM(Lfm2Config(vocab_size=50, **shape, **layers))
    monkeypatch.setattr(attention, "best_device", lambda: "cuda")
    choose_attention(model, "auto")
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(ConfigError, match="does not support packed rows"):
        choose_attention(model, PACKED)


def test_padder_pads_only_packed_batches(make_student):
    student, _ = make_student("llama")
    rows = student.prompt.pair_rows(LEFT, RIGHT)
    packed, padded = pack(rows), pad(rows, padding_id=0)
    real = padded["segment"] > 0
    given = torch.arange(2.0 * int(real.sum())).view(1, -1, 2)
    found = padder(packed)(given)
    assert found.shape == (*real.shape, 2)
    assert torch.equal(found[real], given[0])
    assert padder(padded) is None


def test_last_states_are_those_of_the_last_real_tokens(make_student):
    student, _ = make_student("llama")
    rows = student.prompt.pair_rows(LEFT, RIGHT)
    assert len({len(row) for row in rows}) > 1, "the test needs rows of different lengths"
    ends = torch.tensor([len(row) for row in rows]).cumsum(0)
    packed, padded = pack(rows), pad(rows, padding_id=0)
    states = torch.arange(2.0 * int(ends[-1])).view(1, -1, 2)
    expected = states[0, ends - 1]
    assert torch.equal(last_states(states, packed), expected)
    assert torch.equal(last_states(padder(packed)(states), padded), expected)
