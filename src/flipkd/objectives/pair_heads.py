"""Objectives with a learned head on the two vectors of a pair; a matcher does not get the head, the vectors are what it trains.

u_i and v_i are the student's vectors of the texts of pair i, x_i = [u_i, v_i, u_i - v_i, u_i v_i] its features, and t_i the
teacher's log-odds of a match.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn, where
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, normalize

from flipkd.errors import ConfigError
from flipkd.objectives.answer import teacher_log_odds
from flipkd.objectives.batch import LOWEST, MatchBatch, mean_or_zero, require_temperature

EPSILON = 1e-6


class PairHeadKd(nn.Module):
    """L = mean over pairs of KL( Bernoulli(sigmoid(t_i)) || Bernoulli(sigmoid(w x_i + b)) ), w and b learned.

    A share `mixup` of the pairs is mixed: their features with those of the previous pair of the batch by a random ratio, and the
    teacher's probabilities by the same. Labels are not used. Needs left, right and the teacher's pair scores or grid.
    Raises ConfigError for a slope that is not above 0 or mixup outside 0 to 1.

    Source: a siamese head on both vectors and their difference (Barkan et al., AAAI 2020, arXiv 1908.05161; the difference
    as a feature also in DiffKS, arXiv 2009.09378); partial mixup after Choi et al. (WACV 2023, arXiv 2211.03946).
    """

    def __init__(
        self,
        *,
        student_width: int,
        mixup: float = 0.0,
        teacher_slope: float = 1.0,
        teacher_intercept: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= mixup <= 1:
            raise ConfigError(f"mixup={mixup}: must be from 0 to 1")
        self.mixup, self.slope, self.intercept = mixup, teacher_slope, teacher_intercept
        self.head = nn.Linear(4 * student_width, 1)

    def forward(self, batch: MatchBatch) -> Tensor:
        """Return the loss []."""
        features = pair_features(batch)
        target = teacher_log_odds(batch, slope=self.slope, intercept=self.intercept).sigmoid()
        if self.mixup > 0:
            mixed = torch.rand_like(target) < self.mixup
            ratio = where(mixed, torch.rand_like(target), 1.0)
            features = ratio[:, None] * features + (1 - ratio)[:, None] * features.roll(1, dims=0)
            target = ratio * target + (1 - ratio) * target.roll(1)
        with torch.autocast(features.device.type, enabled=False):
            logits = self.head(features).squeeze(1)
        entropy = torch.special.entr(target) + torch.special.entr(1 - target)
        return mean_or_zero(binary_cross_entropy_with_logits(logits, target, reduction="none") - entropy)


class PairRelation(nn.Module):
    """L = mean over labelled i and j != i of one label of -log( e^{r_i r_j / tau} / sum over k of e^{r_i r_k / tau} ).

    k are the other labelled pairs. r_i = W x_i / |W x_i| is the relation of a pair: what holds between its texts, also where
    that is not their closeness. It depends on the order of the texts. The loss of a batch without both classes is 0. Needs
    left, right and label. Raises ConfigError for width below 1 or a temperature that is not above 0.

    Source: RelBERT (Ushio et al., EMNLP 2021, arXiv 2110.15705), there for kinds of relations between words.
    """

    def __init__(self, *, student_width: int, width: int = 64, temperature: float = 0.1) -> None:
        super().__init__()
        require_temperature(temperature)
        if width < 1:
            raise ConfigError(f"width={width} must be at least 1")
        self.temperature, self.relation = temperature, nn.Linear(4 * student_width, width, bias=False)

    def forward(self, batch: MatchBatch) -> Tensor:
        """Return the loss []."""
        features, label = pair_features(batch), batch.require("label")
        with torch.autocast(features.device.type, enabled=False):
            relation = normalize(self.relation(features), dim=1, eps=EPSILON)
            logits = relation @ relation.T / self.temperature
        own = torch.eye(len(label), dtype=torch.bool, device=label.device)
        other = (label >= 0) & ~own
        logs = log_softmax(logits.masked_fill(~(other | own & (label < 0)), LOWEST), dim=1)
        same = other & (label[:, None] == label)
        return mean_or_zero(logs.neg(), same & (label == 0).any() & (label == 1).any())


class NormDirection(nn.Module):
    """L = mean over labelled pairs of 1 - (W p_i . c_y) / max(|W p_i|, |q_i|): the direction of the class, and a length.

    p_i and q_i are the products of the two vectors of pair i, of the student and of the teacher; c_y [d] is the direction of the
    mean of q over all training pairs of label y; W [d, D] is learned. 0 where W p_i points to c_y and is at least as long as
    q_i. Pairs with an unknown label are left out. Needs left, right, label and a bi-encoder.

    Source: feature norm and direction (Wang et al., arXiv 2305.17007), there for the features of images.
    """

    means: Tensor

    def __init__(self, *, student_width: int, training: MatchBatch) -> None:
        super().__init__()
        products, label = teacher_products(training), training.require("label")
        means = torch.stack([products[label == kind].mean(dim=0) for kind in (0, 1)]).nan_to_num()
        self.register_buffer("means", normalize(means, dim=1))
        self.projection = nn.Linear(student_width, means.shape[1], bias=False)

    def forward(self, batch: MatchBatch) -> Tensor:
        """Return the loss []."""
        products, label = student_products(batch), batch.require("label")
        with torch.autocast(products.device.type, enabled=False):
            projected = self.projection(products)
        along = (projected * self.means[label.clamp(min=0)]).sum(dim=1)
        length = torch.linalg.vector_norm(teacher_products(batch), dim=1)
        longest = torch.linalg.vector_norm(projected, dim=1).maximum(length).clamp(min=EPSILON)
        return mean_or_zero(1 - along / longest, label >= 0)


class LelpSubclass(nn.Module):
    """L = mean over pairs of KL( P_i || softmax(V [u_i v_i, |u_i - v_i|]) ), P_i over `subclasses` of two classes, V learned.

    P_i(c, j) = q_i(c) softmax_j(z_cj / beta): q_i(c) is the teacher's probability of class c, z_cj the position of the product
    of its vectors along direction j of class c, in standard deviations of the class. The directions are the leading principal
    components of the training pairs of the class, without the direction that the teacher's score itself is, rotated by a
    random orthonormal matrix. So a match is not one bit but one of several kinds. Needs left, right, labelled
    training pairs of both classes and a bi-encoder. Raises ConfigError for subclasses below 1, or a slope or beta that is
    not above 0.

    Source: LELP (Loo et al., arXiv 2409.20449); products of vectors in place of a classifier's features are ours.
    """

    centres: Tensor
    directions: Tensor

    def __init__(
        self,
        *,
        student_width: int,
        training: MatchBatch,
        subclasses: int = 4,
        beta: float = 1.0,
        teacher_slope: float = 1.0,
        teacher_intercept: float = 0.0,
    ) -> None:
        super().__init__()
        require_temperature(beta, "beta")
        self.beta, self.slope, self.intercept = beta, teacher_slope, teacher_intercept
        products, label = teacher_products(training), training.require("label")
        if subclasses < 1:
            raise ConfigError(f"subclasses={subclasses} must be at least 1")
        found = [_directions(products[label == kind], count=subclasses) for kind in (0, 1)]
        self.register_buffer("centres", torch.stack([centre for centre, _ in found]))
        self.register_buffer("directions", torch.stack([directions for _, directions in found]))
        self.head = nn.Linear(2 * student_width, 2 * subclasses)

    def targets(self, batch: MatchBatch) -> Tensor:
        """Return P [N, 2, subclasses]; the sum over the subclasses is the teacher's probability of the class."""
        log_odds = teacher_log_odds(batch, slope=self.slope, intercept=self.intercept)
        products = teacher_products(batch)
        with torch.autocast(products.device.type, enabled=False):
            position = torch.einsum("ncd,cjd->ncj", products[:, None] - self.centres, self.directions)
        probability = torch.stack([(-log_odds).sigmoid(), log_odds.sigmoid()], dim=1)
        return probability[:, :, None] * (position / self.beta).softmax(dim=2)

    def forward(self, batch: MatchBatch) -> Tensor:
        """Return the loss []."""
        left, right = batch.require("left").float(), batch.require("right")[: batch.shape[0]].float()
        with torch.autocast(left.device.type, enabled=False):
            logs = log_softmax(self.head(torch.cat([left * right, (left - right).abs()], dim=1)), dim=1)
        target = self.targets(batch).flatten(1)
        return mean_or_zero((-torch.special.entr(target) - target * logs).sum(dim=1))


def pair_features(batch: MatchBatch) -> Tensor:
    """Return x [N, 4 D] of the pairs, float32: both vectors, their difference and their product."""
    left, right = batch.require("left").float(), batch.require("right")[: batch.shape[0]].float()
    return torch.cat([left, right, left - right, left * right], dim=1)


def student_products(batch: MatchBatch) -> Tensor:
    """Return [N, D] the product of the student's two vectors of each pair, float32."""
    return batch.require("left").float() * batch.require("right")[: batch.shape[0]].float()


def teacher_products(batch: MatchBatch) -> Tensor:
    """Return [N, d] the product of the teacher's two vectors of each pair, float32 constants; their sum is its score."""
    left, right = batch.require("teacher_left"), batch.require("teacher_right")
    return left.detach().float() * right[: len(left)].detach().float()


def _directions(products: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """Return the centre [d] of the products, and `count` directions [count, d], each divided by its standard deviation."""
    centre = products.mean(dim=0).nan_to_num()  # NaN without a pair of the class
    centred = products - centre
    centred = centred - centred.mean(dim=1, keepdim=True)  # the score is the sum of a product
    components = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -count:].T
    rotation = torch.linalg.qr(torch.randn(count, count))[0]
    directions = rotation[:, : len(components)] @ components
    directions = directions - directions.mean(dim=1, keepdim=True)
    spread = torch.linalg.vector_norm(centred @ directions.T, dim=0) / max(len(products), 1) ** 0.5
    varies = (spread > EPSILON)[:, None]  # not in a class of one pair: its subclasses are then equal
    return centre, where(varies, directions / spread.clamp(min=EPSILON)[:, None], 0.0)
