"""RMS norms with torch's fused kernel on a GPU: two casts and one kernel instead of about nine.

The norms of transformers run one kernel per operation; in a small model they take more GPU time than the matrix products.
Model families differ in details (Gemma multiplies by 1 + weight), so a norm is replaced only when the fused one gives the
same values on a test input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

TEST_ROWS = 8  # of random numbers


class FusedNorm:
    """Mixin for the class of a norm: x / rms(x) * scale, in float32, rounded once to the dtype of x."""

    flipkd_scale: Tensor
    flipkd_eps: float

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last axis."""
        scale = self.flipkd_scale
        with torch.autocast(x.device.type, enabled=False):
            return rms_norm(x.float(), scale.shape, scale, self.flipkd_eps).to(x.dtype)


def fuse_norms(model: nn.Module) -> int:
    """Replace the RMS norms of a frozen model by fused ones of equal output; return the number of replaced norms."""
    fused: dict[type, type] = {}
    count = 0
    for module in model.modules():
        own = type(module)
        if issubclass(own, FusedNorm) or not own.__name__.endswith("RMSNorm"):
            continue
        found = _formula(module) if isinstance(getattr(module, "weight", None), nn.Parameter) else None
        if found is None:
            continue
        module.register_buffer("flipkd_scale", found[0], persistent=False)
        module.flipkd_eps = found[1]  # type: ignore[assignment]  # torch types attributes as tensors
        module.__class__ = fused.setdefault(own, type(f"Fused{own.__name__}", (FusedNorm, own), {}))
        count += 1
    return count


@torch.no_grad()
def _formula(module: Any) -> tuple[Tensor, float] | None:
    """Return (scale, epsilon) with which the fused kernel equals the module; None when there are none."""
    weight = module.weight.detach().float()
    epsilon = next(
        (float(getattr(module, name)) for name in ("eps", "variance_epsilon") if hasattr(module, name)), None
    )
    if epsilon is None or weight.dim() != 1:
        return None
    generator = torch.Generator().manual_seed(0)
    test_input = (3 * torch.randn(TEST_ROWS, len(weight), generator=generator)).to(weight.device)
    expected = module(test_input)
    for scale in (weight, 1 + weight):
        found = rms_norm(test_input, scale.shape, scale, epsilon)
        if torch.allclose(found, expected.float(), rtol=1e-5, atol=1e-5):
            return scale.clone(), epsilon
    return None
