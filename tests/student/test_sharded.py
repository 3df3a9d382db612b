"""A base that is divided over ranks gives the loss, the gradients and the scores of a complete one."""

import pytest
import torch
from gradients import MIXED, before_and_after_sharding, losses_and_gradients
from worlds import in_world

from flipkd.errors import ConfigError
from flipkd.student.attention import PACKED
from flipkd.student.sharded import shard_base

ALONE = ("in_batch_kl", "layer_score_kd")  # of the vectors alone, and of the layers
CASES = [  # family, reading, attention, dtype, activation checkpointing
    ("gemma3", "joint", PACKED, "bfloat16", False),  # as on a GPU
    ("gemma3", "joint", "auto", "float32", True),
    ("llama", "blocked", "auto", "float32", False),
    ("llama", "separate", PACKED, "float32", True),
]


@pytest.mark.parametrize("family, size", [("llama", 2), ("gemma3", 3)])
def test_shard_base_gives_loss_and_gradients_of_one_process(base_models, tmp_path, family, size):
    base, only = str(base_models[family]), (MIXED, *ALONE)
    alone = losses_and_gradients(base, size, only)
    for rank in in_world(size, losses_and_gradients, tmp_path / "world", base, size, only, True):
        for objective, (loss, gradients) in alone.items():
            own_loss, own = rank[objective]
            assert float(own_loss) == pytest.approx(float(loss), rel=1e-5)
            assert own.keys() == gradients.keys()
            scale = max(float(gradient.abs().max()) for gradient in gradients.values())
            for name, gradient in gradients.items():
                torch.testing.assert_close(own[name], gradient, atol=1e-5 * max(scale, 1.0), rtol=0, msg=name)


def test_shard_base_changes_nothing_but_the_memory(base_models, tmp_path):
    names = ("base", "reading", "attn_implementation", "dtype", "again")
    cases = [dict(zip(names, (str(base_models[family]), *rest), strict=True)) for family, *rest in CASES]
    for rank in in_world(2, before_and_after_sharding, tmp_path / "world", cases):
        assert len(rank) == len(CASES)
        for case, found in rank.items():
            complete, part, expected = found["bytes"].tolist()
            assert part == complete / 2 == expected, case
            assert found["before"].keys() == found["after"].keys()
            for name, value in found["before"].items():
                torch.testing.assert_close(found["after"][name], value, msg=f"{case} {name}")


def test_shard_base_refuses_padded_rows_in_separate_reading(make_student):
    with pytest.raises(
        ConfigError, match=r"FSDP cannot train reading=separate with attn_implementation=flipkd_grouped"
    ):
        shard_base(make_student(reading="separate")[0], device="cpu")
