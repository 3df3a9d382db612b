"""What is said when memory runs out: the largest part, and a batch that fits."""

from __future__ import annotations

import re

import pytest
import torch

from flipkd import ranks
from flipkd.errors import ResourceError
from flipkd.student.memory import shape_of, training_memory
from flipkd.training import out_of_memory
from flipkd.training.out_of_memory import explain_out_of_memory, memory_advice, tokens_per_pair, usable_memory
from flipkd.training.run import fresh_student


@pytest.mark.parametrize("reading", ["joint", "separate", "blocked"])
def test_tokens_per_pair_counts_all_tokens(make_config, table, reading):
    student, _ = fresh_student(make_config(reading=reading))
    lengths = [len(row) for row in student.prompt.pair_rows(table.left, table.right)]
    found = tokens_per_pair(student, table)
    if reading == "separate":
        assert found > 1.3 * sum(lengths) / len(lengths)
    else:
        assert found == pytest.approx(sum(lengths) / len(lengths))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_memory_advice_names_the_largest_batch_that_fits(make_config, table, checkpointing):
    config = make_config(activation_checkpointing=checkpointing, per_device_train_batch_size=512)
    student, _ = fresh_student(config)
    budget = 20e6
    said = memory_advice(student, config, table, budget=budget)
    pairs = int(re.search(r"(\d+) pairs a step would fit", said)[1])
    assert ("most of it workspace" if checkpointing else "most of it activations") in said
    assert ("with activation_checkpointing" in said) is not checkpointing
    shape, tokens = shape_of(student.language_model.config, config), tokens_per_pair(student, table)
    read_totals = [
        training_memory(shape, tokens=round(n * tokens), dtype="float32", activation_checkpointing=checkpointing).total
        for n in (pairs, pairs + 1)
    ]
    assert read_totals[0] <= budget * 1.001
    assert read_totals[1] > budget


def test_memory_advice_mentions_4_bits_for_weights_that_do_not_fit(make_config, table):
    config = make_config(per_device_train_batch_size=1)
    student, _ = fresh_student(config)
    said = memory_advice(student, config, table, budget=1000)
    assert "not even one pair would fit" in said
    assert "load_in_4bit" in said
    assert "FSDP" in said


def test_memory_advice_counts_a_part_of_a_sharded_base(make_config, table, monkeypatch):
    config = make_config()
    student, _ = fresh_student(config)
    student.sharded = True
    monkeypatch.setattr(ranks, "world_size", lambda: 4)
    seen = []
    monkeypatch.setattr(out_of_memory, "training_memory", lambda *a, **k: seen.append(k) or training_memory(*a, **k))
    monkeypatch.setattr(out_of_memory, "largest_batch", lambda *a, **k: seen.append(k) or 0)
    assert "load_in_4bit" not in memory_advice(student, config, table, budget=1000)
    assert [given["shards"] for given in seen] == [4, 4, 4]


def test_explain_out_of_memory_needs_a_known_memory_size(make_config, table, monkeypatch):
    config = make_config()
    student, _ = fresh_student(config)

    def told(cause) -> str:
        with (
            pytest.raises(ResourceError) as caught,
            explain_out_of_memory(student, config, table),
        ):
            raise ResourceError("something ran out") from cause
        return str(caught.value)

    assert usable_memory(torch.device("cpu")) is None
    assert told(torch.OutOfMemoryError()) == "something ran out"
    monkeypatch.setattr(out_of_memory, "usable_memory", lambda device: 20e6)
    assert told(OSError("disk")) == "something ran out"
    assert re.match(r"something ran out; a step of 8 pairs of \d+ tokens .* would fit", told(torch.OutOfMemoryError()))
