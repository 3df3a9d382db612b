"""Random batches for the objectives' tests."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from flipkd.objectives.batch import MatchBatch


@pytest.fixture
def make_batch() -> Callable[..., MatchBatch]:
    """A full batch of random pairs with labels of all three kinds and repeated texts; a keyword replaces a tensor."""

    def make(pairs: int = 8, *, seed: int = 0, columns: int | None = None, **replaced: Any) -> MatchBatch:
        random = torch.Generator().manual_seed(seed)
        columns = columns or pairs
        tensors = {
            "answers": torch.randn(pairs, 2, generator=random),
            "label": torch.randint(-1, 2, (pairs,), generator=random),
            "left": normalize(torch.randn(pairs, 5, generator=random), dim=1),
            "right": normalize(torch.randn(columns, 5, generator=random), dim=1),
            "teacher_grid": torch.rand(pairs, columns, generator=random) * 2 - 1,
            "left_id": torch.randint(0, 3 * pairs, (pairs,), generator=random),
            "right_id": torch.randint(0, 3 * pairs, (columns,), generator=random),
            "pair_id": torch.arange(pairs) // 2,
            "teacher_left": normalize(torch.randn(pairs, 3, generator=random), dim=1),
            "teacher_right": normalize(torch.randn(columns, 3, generator=random), dim=1),
            "list_id": torch.randint(0, (pairs + 1) // 2, (pairs,), generator=random),
            "layer_states": torch.randn(pairs, 3, 6, generator=random),
        }
        tensors.update(replaced)
        for name in ("answers", "left", "right", "layer_states"):
            if tensors[name] is not None and tensors[name].is_leaf:
                tensors[name].requires_grad_()
        return MatchBatch(**tensors)

    return make
