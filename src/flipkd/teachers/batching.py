"""Batches for fine-tuning a teacher: rows of similar length together, to reduce padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from flipkd.batching import batches_near


class LengthGroupedBatches(DefaultBatchSampler):  # type: ignore[misc]
    """Shuffled batches of rows with similar length in characters; the order depends only on `seed` and the epoch."""

    epoch = 0

    def __init__(self, dataset: Any, **settings: Any) -> None:
        super().__init__(dataset, **settings)
        columns = [name for name in ("text1", "text2") if name in dataset.column_names]
        self.lengths = [sum(map(len, texts)) for texts in zip(*(dataset[name][:] for name in columns), strict=True)]

    def __len__(self) -> int:
        full, rest = divmod(len(self.lengths), self.batch_size)
        return int(full) + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[list[int]]:
        random = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=random).tolist()
        batches = batches_near(order, self.lengths, self.batch_size)
        if self.drop_last:
            batches = [batch for batch in batches if len(batch) == self.batch_size]
        for at in torch.randperm(len(batches), generator=random).tolist():
            yield batches[at]


def has_fast_bfloat16() -> bool:
    """Return whether bfloat16 is fast on this machine: hardware support of the accelerator, or of the CPU."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
