"""Objectives with a learned map W [d, D] of the student's vectors to the teacher's width; a matcher does not get it.

e_u and f_u are the vectors of a text u, of the student and of the teacher; the texts are all 2N of the batch's pairs. Labels
are not used, so unlabelled pairs count as well. Need a bi-encoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, pad

from flipkd.errors import ConfigError
from flipkd.objectives.batch import MatchBatch, mean_or_zero
from flipkd.objectives.texts import equal_texts, student_texts, teacher_texts, text_ids

LARGEST_SCALE = 100.0  # of a learned scale of cosines; above it a softmax in float32 is one-hot
SINKHORN_STEPS, SINKHORN_TEMPERATURE = 50, 0.1


class _Projection(nn.Module):
    """The map W and the values that all objectives of this file use."""

    def __init__(self, *, student_width: int, training: MatchBatch) -> None:
        super().__init__()
        self.projection = nn.Linear(student_width, training.require("teacher_left").shape[1], bias=False)

    def projected(self, batch: MatchBatch) -> Tensor:
        """Return W e [2N, d], float32 even under autocast."""
        texts = student_texts(batch)
        with torch.autocast(texts.device.type, enabled=False):
            projected: Tensor = self.projection(texts)
        return projected


class EmbedAlign(_Projection):
    """L = mean over texts of |W e_u / |W e_u| - f_u|^2 = 2 (1 - cos(W e_u, f_u)): the student's vector becomes the teacher's.

    Source: LEAF (arXiv 2509.12539), and of a translation in place of the text Reimers and Gurevych (EMNLP 2020,
    arXiv 2004.09813).
    """

    def forward(self, batch: MatchBatch) -> Tensor:
        """Return the loss []."""
        teacher = normalize(teacher_texts(batch), dim=1)
        return mean_or_zero((normalize(self.projected(batch), dim=1) - teacher).square().sum(dim=1))


class CkdInfoNce(_Projection):
    """L = mean over texts u of -log( e^{g cos(W e_u, f_u)} / sum over texts v of e^{g cos(W e_u, f_v)} ), g a learned scale.

    v are all texts of the batch and, with `queue_size`, right-hand texts of earlier steps, but not those equal to u. With
    `chunks` above 1 the vectors are cut into that many pieces; each is contrasted alone, and the losses are averaged. It is
    not 0 at a perfect match. Raises ConfigError for `chunks` below 1, or `initial_scale` that is not above 0 and up to 100.

    Source: contrastive distillation of DistilCSE (Gao et al., arXiv 2112.05638), whose queue holds 65536 texts and whose g
    starts at e; pieces of vectors after multi-scale decoupling (arXiv 2502.05835).
    """

    def __init__(
        self, *, student_width: int, training: MatchBatch, chunks: int = 1, initial_scale: float = 2.718
    ) -> None:
        super().__init__(student_width=student_width, training=training)
        if chunks < 1:
            raise ConfigError(f"chunks={chunks} must be at least 1")
        if not 0 < initial_scale <= LARGEST_SCALE:
            raise ConfigError(f"initial_scale={initial_scale}: must be above 0 and at most {LARGEST_SCALE:g}")
        self.chunks, self.log_scale = chunks, nn.Parameter(torch.tensor(math.log(initial_scale)))

    def forward(self, batch: MatchBatch) -> Tensor:
        """Return the loss []."""
        student, teacher, count = self.projected(batch), teacher_texts(batch), batch.shape[0]
        queued = batch.require("teacher_right")[count:].detach().float()
        pieces = [self._pieces(rows) for rows in (student, torch.cat([teacher, queued]))]
        with torch.autocast(student.device.type, enabled=False):
            logits = self.log_scale.exp().clamp(max=LARGEST_SCALE) * torch.einsum("ucd,vcd->cuv", *pieces)
        if batch.right_id is not None:
            ids = text_ids(batch)
            other = torch.cat([ids, batch.right_id[count:]])
            own = torch.eye(len(ids), len(other), dtype=torch.bool, device=ids.device)
            logits = logits.masked_fill((ids[:, None] == other) & ~own, -float("inf"))
        return mean_or_zero(-log_softmax(logits, dim=2).diagonal(dim1=1, dim2=2))

    def _pieces(self, rows: Tensor) -> Tensor:
        """Return [n, chunks, ...] the pieces of vectors [n, d], of unit length; the last one may be shorter."""
        padded = pad(rows, (0, -rows.shape[1] % self.chunks))
        return normalize(padded.reshape(len(rows), self.chunks, padded.shape[1] // self.chunks), dim=2)


class Wcord(_Projection):
    """L = global_weight (1 - (mean over u of g_uu - mean over u, v of g_uv) / 2) + local_weight sum over u, v of P_uv (1 - g_uv).

    g_uv = cos(W e_u, f_v); the second mean is over different texts. P is the plan of optimal transport between the two sets of
    vectors, with uniform marginals and an entropy of weight 0.1, a constant. The first term, the Wasserstein form of mutual
    information, finds the right teacher vector across the batch; the second brings the sets together. The second does not
    know which text is which, so it is of use only beside the first. Raises ConfigError for a negative weight.

    Source: WCoRD (Chen et al., CVPR 2021, arXiv 2012.08674), with its weights; a cosine as critic in place of a network of
    bounded slope is ours.
    """

    def __init__(
        self, *, student_width: int, training: MatchBatch, global_weight: float = 0.8, local_weight: float = 0.05
    ) -> None:
        super().__init__(student_width=student_width, training=training)
        if not (global_weight >= 0 and local_weight >= 0):
            raise ConfigError(f"global_weight={global_weight}, local_weight={local_weight}: both must be at least 0")
        self.global_weight, self.local_weight = global_weight, local_weight

    def forward(self, batch: MatchBatch) -> Tensor:
        """Return the loss []."""
        student, teacher = normalize(self.projected(batch), dim=1), normalize(teacher_texts(batch), dim=1)
        with torch.autocast(student.device.type, enabled=False):
            critic = student @ teacher.T
        apart = mean_or_zero(critic, ~equal_texts(batch))
        matched = mean_or_zero(1 - (critic.diagonal() - apart) / 2)
        cost = 1 - critic
        return self.global_weight * matched + self.local_weight * (transport_plan(cost.detach()) * cost).sum()


def transport_plan(cost: Tensor) -> Tensor:
    """Return [n, n] the plan of entropic optimal transport with uniform marginals, by Sinkhorn's iterations."""
    log_kernel, log_share = -cost / SINKHORN_TEMPERATURE, -math.log(max(len(cost), 1))
    rows = columns = cost.new_zeros(len(cost))
    for _ in range(SINKHORN_STEPS):
        rows = log_share - (log_kernel + columns).logsumexp(dim=1)
        columns = log_share - (log_kernel + rows[:, None]).logsumexp(dim=0)
    return (log_kernel + rows[:, None] + columns).exp()
