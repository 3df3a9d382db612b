"""Objectives of the hidden states of the student's layers, read at the token of the answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, layer_norm

from flipkd.errors import ConfigError
from flipkd.objectives.answer import bernoulli_kl, teacher_log_odds
from flipkd.objectives.batch import MatchBatch, mean_or_zero, require_temperature


class LayerScoreKd(nn.Module):
    """L = sum over layers m of w_m mean over pairs of KL( Bernoulli(sigmoid(t_i)) || Bernoulli(sigmoid(s_im)) ).

    s_im = v_m h_im + b_m is a learned read-out of the normalised hidden state of layer m, t_i the teacher's log-odds. The weights
    w = softmax(-CE_m / tau), a constant, favour the layers whose read-outs fit the labels of the batch; without labels they
    are equal. `layers` are numbers from 0, negative ones count from the end; None: all but the last. A match is then found in
    earlier layers. Needs layer_states, label and the teacher's pair scores or grid. Raises ConfigError for a layer that the
    student does not have, or a slope or temperature that is not above 0.

    Source: LEAD (Sun et al., WSDM 2024, arXiv 2212.05225), which compares lists of scores of the layers of both models and
    weighs by the teacher's layers; an encoder's layers are not stored here, so its final score is the target of all.
    """

    def __init__(
        self,
        *,
        state_shape: tuple[int, int],
        layers: Sequence[int] | None = None,
        temperature: float = 10.0,
        teacher_slope: float = 1.0,
        teacher_intercept: float = 0.0,
    ) -> None:
        super().__init__()
        require_temperature(temperature)
        count, width = state_shape
        chosen = range(max(count - 1, 1)) if layers is None else layers
        if not chosen or any(not -count <= layer < count for layer in chosen):
            raise ConfigError(f"layers={list(chosen)}: allowed are one or more of 0 to {count - 1}, or -1 to -{count}")
        self.layers, self.temperature = [layer % count for layer in chosen], temperature
        self.slope, self.intercept = teacher_slope, teacher_intercept
        self.weight = nn.Parameter(torch.zeros(len(self.layers), width))
        self.bias = nn.Parameter(torch.zeros(len(self.layers)))
        nn.init.normal_(self.weight, std=width**-0.5)

    def forward(self, batch: MatchBatch) -> Tensor:
        """Return the loss []."""
        states, label = batch.require("layer_states"), batch.require("label")
        teacher = teacher_log_odds(batch, slope=self.slope, intercept=self.intercept)
        with torch.autocast(states.device.type, enabled=False):
            chosen = torch.stack([states[:, layer] for layer in self.layers], dim=1).float()
            normed = layer_norm(chosen, chosen.shape[-1:])
            scores = (normed * self.weight).sum(dim=2) + self.bias
        by_label = binary_cross_entropy_with_logits(
            scores.detach(), label.clamp(min=0).float()[:, None].expand_as(scores), reduction="none"
        )
        errors = torch.where((label >= 0)[:, None], by_label, 0.0).sum(dim=0) / (label >= 0).sum().clamp(min=1)
        weights = (-errors / self.temperature).softmax(dim=0)
        return mean_or_zero((weights * bernoulli_kl(teacher[:, None].expand_as(scores), scores)).sum(dim=1))
