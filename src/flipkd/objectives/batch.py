"""MatchBatch, the argument of every objective: tensors of a batch of pairs, and values derived from them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, where

from flipkd.errors import ConfigError

LOWEST = -1e30  # a masked logit; not -inf, because the gradient of a logsumexp of only -inf is NaN
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
    "pair_id": ("N",),
    "list_id": ("N",),
    "layer_states": ("N", "K", "H"),
}
_HINTS = {
    "answers": "let the student answer in label words, or set this objective's weight to 0",
    "label": "give labelled pairs, or set this objective's weight to 0",
    **dict.fromkeys(("left", "right"), "give the student a readout, or set this objective's weight to 0"),
    **dict.fromkeys(
        ("teacher_grid", "teacher_left", "teacher_right"),
        "use a bi-encoder teacher, a cross-encoder gives pair scores only",
    ),
    "teacher_pair": "score the pairs with a teacher first (flipkd teach), or give them a score column",
    **dict.fromkeys(("left_id", "right_id"), "give the ids of the texts, equal for equal texts"),
    "pair_id": "give the ids of the pairs, equal for the two orders of a pair",
    "list_id": "give the number of each pair's list: pairs with one first text are a list",
    "layer_states": "give the student's hidden states of each layer at the token of the answer",
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
    """Hold the student's and the teacher's values of N pairs; each tensor may be missing, and reading a missing one raises.

    There are M right-hand texts: column i < N holds the right-hand text of pair i, columns from N on are further candidates
    (M = N without a queue). D is the width of the student's embeddings, d that of the teacher's. Raises ConfigError for
    shapes that do not agree.

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
    """[N, M] the teacher's similarity T_ij of left-hand text i and right-hand text j."""
    teacher_pair: Tensor | None = None
    """[N] the teacher's score of each pair. Without it `teacher` is the diagonal of the grid."""
    teacher_left: Tensor | None = None
    """[N, d] the teacher's embeddings, unit length; d and D may differ."""
    teacher_right: Tensor | None = None
    """[M, d]"""
    left_id: Tensor | None = None
    """[N] int64, equal for equal texts."""
    right_id: Tensor | None = None
    """[M] int64, in the same numbering as left_id."""
    pair_id: Tensor | None = None
    """[N] int64, equal for the two orders of a pair, (a, b) and (b, a)."""
    list_id: Tensor | None = None
    """[N] int64, equal for the candidates of one query: pairs with the same first text in the table, also where swapped."""
    layer_states: Tensor | None = None
    """[N, K, H] the student's hidden states after each of its K layers, at the token where the answer is read."""

    def __post_init__(self) -> None:
        rows, columns = self.shape
        if columns < rows:
            raise ConfigError(
                f"a MatchBatch of {rows} pairs has {columns} right-hand texts: give one for each pair, in the order of the pairs"
            )
        if (self.left_id is None) != (self.right_id is None):
            raise ConfigError("a MatchBatch has the ids of one side only; give both left_id and right_id, or neither")

    @property
    def shape(self) -> tuple[int, int]:
        """Return (N, M); M is N when no tensor of the batch has that axis. Raises ConfigError when two tensors disagree."""
        sizes = {"2": 2}
        for name, axes in _AXES.items():
            tensor = getattr(self, name)
            if tensor is None:
                continue
            shape = tuple(tensor.shape)
            if len(shape) != len(axes) or any(
                sizes.setdefault(axis, size) != size for axis, size in zip(axes, shape, strict=True)
            ):
                known = ", ".join(f"{axis}={size}" for axis, size in sizes.items() if axis != "2")
                raise ConfigError(
                    f"MatchBatch.{name} has shape {list(shape)}, allowed is [{', '.join(axes)}] ({known})"
                )
        if "N" not in sizes:
            raise ConfigError(f"a MatchBatch needs a tensor with an axis N, such as left or label; got {self.present}")
        return sizes["N"], sizes.get("M", sizes["N"])

    @property
    def present(self) -> list[str]:
        """The names of the tensors that are not None."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]

    def require(self, name: str) -> Tensor:
        """Return the tensor of that name. Raises MissingTensorError, a ConfigError, when the batch does not have it."""
        tensor: Tensor | None = getattr(self, name)
        if tensor is None:
            raise MissingTensorError(name, self.present)
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
    def pair_mask(self) -> Tensor:
        """[N, M] bool, the diagonal: true for the cell of each pair, (a_i, b_i)."""
        device = getattr(self, self.present[0]).device
        return torch.eye(*self.shape, dtype=torch.bool, device=device)

    @property
    def valid_mask(self) -> Tensor:
        """[N, M] bool: false for the cells off the diagonal that are in-batch duplicates of a pair.

        A cell (a_i, b_j) is a duplicate when b_j equals b_i, a_j equals a_i or b_j equals a_i: two questions with one
        answer are not negatives of each other. Without ids every cell is valid.
        """
        pair_mask = self.pair_mask
        if self.left_id is None or self.right_id is None:
            return torch.ones_like(pair_mask)
        rows = len(self.left_id)
        repeated = (self.right_id[:rows, None] == self.right_id) | (self.left_id[:, None] == self.right_id)
        repeated[:, :rows] |= self.left_id[:, None] == self.left_id
        return pair_mask | ~repeated

    @property
    def negative_mask(self) -> Tensor:
        """[N, M] bool: the valid cells off the diagonal that do not have the texts of a labelled match: in-batch negatives."""
        return self.valid_mask & ~self.pair_mask & ~self.label_mask(1)

    @property
    def list_mask(self) -> Tensor:
        """[N, N] bool: the pairs in the list of each pair, itself included; a list of one pair has no other."""
        list_id = self.require("list_id")
        return list_id[:, None] == list_id

    def label_mask(self, value: int) -> Tensor:
        """Return [N, M] bool: the cells whose two texts are those of a pair of the batch with this label, in either order.

        A cell off the diagonal can hold the texts of a third pair. Without ids only the diagonal is compared.
        """
        if self.label is None:
            return torch.zeros_like(self.pair_mask)
        has_label = self.label == value
        mask = self.pair_mask & has_label[:, None]
        if self.left_id is None or self.right_id is None:
            return mask
        sides = self.left_id, self.right_id[: len(has_label)]
        for first, second in (sides, sides[::-1]):
            left = (self.left_id[:, None] == first) & has_label  # [N, N] text i on the left is the first of pair k
            right = second[:, None] == self.right_id  # [N, M] text j on the right is its second
            mask = mask | (left.float() @ right.float() > 0)
        return mask


def require_temperature(temperature: float, name: str = "temperature") -> None:
    """Raise ConfigError for a temperature that is not above 0; `name` is that of the setting."""
    if not temperature > 0:
        raise ConfigError(f"{name}={temperature}: must be above 0; 0.02 to 0.1 suits cosines, about 1 log-odds")


def mean_or_zero(terms: Tensor, mask: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Return the mean of the terms where `mask`, of the same shape, is true; the mean of no term is 0, with a gradient.

    With `weight`, of the same shape and at least 0, it is the weighted mean; `weight` needs `mask`.
    A masked term gets a gradient of 0, which becomes NaN if the slope of the term is infinite: mask the input of a
    logarithm, root or softmax, not only its output.
    """
    if mask is None:
        return terms.sum() / max(terms.numel(), 1)
    if weight is not None:
        weight = where(mask, weight, 0.0)
        return where(mask, terms * weight, 0.0).sum() / weight.sum().clamp(min=1e-12)
    return where(mask, terms, 0.0).sum() / mask.sum().clamp(min=1)
