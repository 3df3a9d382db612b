"""MatchBatch, the argument of every objective: tensors of a batch of pairs, and values derived from them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, where

from flipkd.errors import ConfigError

_AXES: dict[str, tuple[str, ...]] = {
    "answers": ("N", "2"),
    "label": ("N",),
    "left": ("N", "D"),
    "right": ("M", "D"),
    "teacher_grid": ("N", "M"),
    "teacher_pair": ("N",),
    "teacher_left": ("N", "d"),
    "teacher_right": ("M", "d"),
    "left_id": ("N",),
    "right_id": ("M",),
}
_HINTS = {
    "answers": "let the student answer in label words, or set this objective's weight to 0",
    "label": "give labelled pairs, or set this objective's weight to 0",
    "left": "give the student a readout, or set this objective's weight to 0",
    "right": "give the student a readout, or set this objective's weight to 0",
    "teacher_grid": "use a bi-encoder teacher, a cross-encoder gives pair scores only",
    "teacher_left": "use a bi-encoder teacher, a cross-encoder gives pair scores only",
    "teacher_right": "use a bi-encoder teacher, a cross-encoder gives pair scores only",
    "teacher_pair": "score the pairs with a teacher first (flipkd teach), or give them a score column",
    "left_id": "without ids of texts no two are known to be equal",
    "right_id": "without ids of texts no two are known to be equal",
}


class MissingTensorError(ConfigError):
    """An objective needs the tensor `name`, which its batch does not have."""

    def __init__(self, name: str, available: list[str]) -> None:
        super().__init__(name, available)  # the arguments, so that pickle can rebuild the error
        self.name, self.available = name, available

    def __str__(self) -> str:
        return f"this objective needs {self.name}, which the batch does not have; it has {self.available}: {_HINTS[self.name]}"


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchBatch:
    """N pairs as the student and the teacher see them; every tensor may be absent, asking for an absent one raises.

    M right-hand texts: column i < N holds the right-hand text of pair i, columns from N on are further candidates
    (M = N on one process). D is the width of the student's representation, d of the teacher's. Shapes are checked: ConfigError.

    Examples:
        >>> import torch
        >>> from flipkd import MatchBatch
        >>> from flipkd.objectives import in_batch_kl
        >>> batch = MatchBatch(left=torch.eye(2), right=torch.eye(2), teacher_grid=torch.eye(2))
        >>> round(in_batch_kl(batch).item(), 3)  # the student agrees with its teacher
        0.0
    """

    answers: Tensor | None = None
    """[N, 2] logits of (no, yes)."""
    label: Tensor | None = None
    """[N] int64: 1 match, 0 no match, -1 unknown."""
    left: Tensor | None = None
    """[N, D] unit length."""
    right: Tensor | None = None
    """[M, D] unit length."""
    teacher_grid: Tensor | None = None
    """[N, M] the teacher's similarity T_ij of text i on the left and text j on the right."""
    teacher_pair: Tensor | None = None
    """[N] the teacher's score of each pair; the diagonal of the grid when only that is given."""
    teacher_left: Tensor | None = None
    """[N, d] the teacher's own vectors, of whatever width, unit length."""
    teacher_right: Tensor | None = None
    """[M, d]"""
    left_id: Tensor | None = None
    """[N] int64, equal for equal texts."""
    right_id: Tensor | None = None
    """[M] int64, in the same numbering as left_id."""

    def __post_init__(self) -> None:
        rows, columns = self.shape
        if columns < rows:
            raise ConfigError(f"a MatchBatch of {rows} pairs has {columns} right-hand texts: each pair needs its own")
        if (self.left_id is None) != (self.right_id is None):
            raise ConfigError("a MatchBatch has ids for one side only: give left_id and right_id, or neither")

    @property
    def shape(self) -> tuple[int, int]:
        """N and M; M is N when nothing in the batch says otherwise. Raises ConfigError when two tensors disagree."""
        sizes = {"2": 2}
        for name, axes in _AXES.items():
            tensor = getattr(self, name)
            if tensor is None:
                continue
            given = tuple(tensor.shape)
            if len(given) != len(axes) or any(
                sizes.setdefault(axis, size) != size for axis, size in zip(axes, given, strict=True)
            ):
                known = ", ".join(f"{axis}={size}" for axis, size in sizes.items() if axis != "2")
                raise ConfigError(
                    f"MatchBatch.{name} has shape {list(given)}, allowed is [{', '.join(axes)}] ({known})"
                )
        if "N" not in sizes:
            raise ConfigError(
                f"a MatchBatch needs a tensor that counts its pairs, such as left or label; got {self.given}"
            )
        return sizes["N"], sizes.get("M", sizes["N"])

    @property
    def given(self) -> list[str]:
        """Names of the tensors that are there."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]

    def require(self, name: str) -> Tensor:
        """Return the tensor of that name. Raises MissingTensorError, a ConfigError, when the batch does not have it."""
        tensor: Tensor | None = getattr(self, name)
        if tensor is None:
            raise MissingTensorError(name, self.given)
        return tensor

    @property
    def similarity(self) -> Tensor:
        """[N, M] the student's similarities S_ij, float32 even under autocast."""
        left, right = self.require("left"), self.require("right")
        with torch.autocast(left.device.type, enabled=False):  # it would round the product back to bfloat16
            return left.float() @ right.float().T

    @property
    def pair_similarity(self) -> Tensor:
        """[N] the student's similarity of each pair: the diagonal of `similarity`, without the grid."""
        left, right = self.require("left"), self.require("right")
        return (left.float() * right[: len(left)].float()).sum(dim=1)

    @property
    def teacher_similarity(self) -> Tensor:
        """[N, M] the teacher's similarities T_ij, float32 constants."""
        return self.require("teacher_grid").detach().float()

    @property
    def teacher(self) -> Tensor:
        """[N] the teacher's score of each pair, float32 constants; the grid's diagonal when no scores are given."""
        if self.teacher_pair is None and self.teacher_grid is not None:
            return self.teacher_similarity.diagonal()
        return self.require("teacher_pair").detach().float()

    @property
    def score(self) -> Tensor:
        """[N] logit(yes) - logit(no), float32."""
        answers = self.require("answers").float()
        return answers[:, 1] - answers[:, 0]

    @property
    def own(self) -> Tensor:
        """[N, M] bool, the diagonal: the cell of each pair itself."""
        device = getattr(self, self.given[0]).device
        return torch.eye(*self.shape, dtype=torch.bool, device=device)

    @property
    def valid_mask(self) -> Tensor:
        """[N, M] bool: the diagonal, and the cells (a_i, b_j) whose texts stand in no pair of the batch by repetition.

        Off the diagonal a cell falls out when b_j equals b_i, a_j equals a_i or b_j equals a_i: two questions of one
        answer are not negatives of each other. Without ids every cell is comparable.
        """
        own = self.own
        if self.left_id is None or self.right_id is None:
            return torch.ones_like(own)
        rows = len(self.left_id)
        repeated = (self.right_id[:rows, None] == self.right_id) | (self.left_id[:, None] == self.right_id)
        repeated[:, :rows] |= self.left_id[:, None] == self.left_id
        return own | ~repeated

    def labelled(self, value: int) -> Tensor:
        """[N, M] bool: the cells whose two texts are those of a pair of the batch with this label, either way round.

        A cell off the diagonal can hold the texts of a third pair. Without ids only the diagonal is known.
        """
        if self.label is None:
            return torch.zeros_like(self.own)
        named = self.label == value
        found = self.own & named[:, None]
        if self.left_id is None or self.right_id is None:
            return found
        sides = self.left_id, self.right_id[: len(named)]
        for first, second in (sides, sides[::-1]):
            left = (self.left_id[:, None] == first) & named  # [N, N] text i on the left is the first of pair k
            right = second[:, None] == self.right_id  # [N, M] text j on the right is its second
            found = found | (left.float() @ right.float() > 0)
        return found


def require_temperature(temperature: float) -> None:
    """Raise ConfigError for a temperature that is not above 0."""
    if not temperature > 0:
        raise ConfigError(f"temperature={temperature}: must be above 0; 0.02 to 0.1 suits cosines")


def mean_or_zero(terms: Tensor, counted: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """The mean of the terms, or of those in the mask `counted` of the same shape; of none it is 0, and backward works.

    With weights of the same shape and at least 0, which need `counted`, it is the weighted mean.
    A term that is not counted gets a gradient of 0, which its own slope must be finite to hand on: mask what goes into a
    logarithm, root or softmax, not only what comes out.
    """
    if counted is None:
        return terms.sum() / max(terms.numel(), 1)
    if weight is not None:
        weight = where(counted, weight, 0.0)
        return where(counted, terms * weight, 0.0).sum() / weight.sum().clamp(min=1e-12)
    return where(counted, terms, 0.0).sum() / counted.sum().clamp(min=1)
