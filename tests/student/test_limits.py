"""Limits of one pass: fixed on a CPU, by free memory on a GPU."""

import sys
from types import SimpleNamespace

import pytest
import torch

from flipkd import ranks
from flipkd.student.limits import CPU_ROWS, CPU_TOKENS, GPU_TOKENS, SHARE, BatchLimits, bytes_per_token

PLAIN = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def config(**changes):
    return SimpleNamespace(**{name: size for name, size in (PLAIN | changes).items() if size is not ...})


def student(device, *, sharded=False):
    model = SimpleNamespace(config=config())
    return SimpleNamespace(device=torch.device(device), language_model=model, sharded=sharded)


@pytest.fixture
def card(monkeypatch):
    """`card(free=..., reserved=..., allocated=...)`: patch torch to report these bytes of GPU memory."""

    def make(*, free, reserved=0, allocated=0):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free, 10 * free))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: reserved)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: allocated)

    return make


def test_bytes_per_token_in_closed_form():
    mlp, hidden, queries, keys = 3 * 256, 4 * 64, 4 * 4 * 16, 4 * 2 * 16
    assert bytes_per_token(config()) == 2 * (mlp + hidden + queries + keys) + 8 * 64


@pytest.mark.parametrize(
    "left_out, same",
    [
        ({"intermediate_size": ...}, {"intermediate_size": 4 * 64}),
        ({"num_key_value_heads": ...}, {"num_key_value_heads": 4}),
        ({"head_dim": ...}, {"head_dim": 64 // 4}),
        ({"head_dim": None}, {"head_dim": 64 // 4}),
    ],
)
def test_bytes_per_token_of_configs_with_missing_sizes(left_out, same):
    assert bytes_per_token(config(**left_out)) == bytes_per_token(config(**same))


@pytest.mark.parametrize("name", PLAIN)
def test_bytes_per_token_grows_with_each_size(name):
    assert bytes_per_token(config(**{name: 2 * PLAIN[name]})) > bytes_per_token(config())


@pytest.mark.parametrize("batch_size, rows", [(None, CPU_ROWS), (7, 7)])
def test_batch_limits_are_fixed_on_a_cpu(batch_size, rows):
    assert BatchLimits.of(student("cpu"), batch_size) == BatchLimits(rows, CPU_TOKENS)


@pytest.mark.parametrize("batch_size, rows", [(None, sys.maxsize), (7, 7)])
def test_batch_limits_follow_free_memory_on_a_gpu(card, batch_size, rows):
    token = bytes_per_token(config())
    card(free=1000 * token)
    assert BatchLimits.of(student("cuda"), batch_size) == BatchLimits(rows, int(1000 * SHARE))


def test_batch_limits_count_unused_reserved_memory_as_free(card):
    token = bytes_per_token(config())
    card(free=1000 * token, reserved=800 * token, allocated=200 * token)
    assert BatchLimits.of(student("cuda"), None).tokens == int(1600 * SHARE)


def test_batch_limits_have_a_minimum_and_a_maximum(card):
    card(free=2**50)
    assert BatchLimits.of(student("cuda"), None).tokens == GPU_TOKENS
    card(free=10)
    assert BatchLimits.of(student("cuda"), None).tokens == 1


def test_batch_limits_of_a_sharded_base_are_those_of_rank_0(card, monkeypatch):
    card(free=2**50)
    monkeypatch.setattr(ranks, "broadcast", lambda tokens: 5)
    assert BatchLimits.of(student("cuda", sharded=True), None).tokens == 5
    assert BatchLimits.of(student("cuda"), None).tokens == GPU_TOKENS
