"""Score pairs and embed texts with a student; training, evaluation, matching and the server all use this module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipkd.batching import batches_by_length, check_wanted
from flipkd.progress import bar as progress_bar
from flipkd.student.limits import BatchLimits
from flipkd.student.model import Student, StudentOutput
from flipkd.student.prefix import Prefix, PrefixCache, drop_prefix, shared_prefix
from flipkd.student.rows import Row, pack, pad, to_device
from flipkd.student.text_states import TextStateCache, text_states

Floats = NDArray[np.float32]
LAYER_BATCH = 32  # pairs of one pass of `layer_states`
WINDOW = 8192  # pairs that are tokenised and sorted by length together; limits memory for any input size


@dataclass(frozen=True)
class Scores:
    """One value per pair: `answer` = logit(yes) - logit(no); on request `cosine` of the two embeddings."""

    answer: Floats
    cosine: Floats | None = None

    @property
    def kinds(self) -> dict[str, Floats]:
        """Name -> values of the scores that were computed."""
        return {"answer": self.answer} | ({} if self.cosine is None else {"cosine": self.cosine})


@torch.no_grad()
def score_pairs(
    student: Student,
    left: Sequence[str],
    right: Sequence[str],
    *,
    batch_size: int | None = None,
    return_embeddings: bool = False,
    states: TextStateCache | None = None,
    progress: str | None = None,
) -> Scores:
    """Score pairs: values [N] in the order of the input for any batch size; `progress` is the label of a progress bar.

    batch_size: pairs in one pass; default 32 on a CPU, as many as fit on a GPU. `states`: the cache of encoded texts of
    blocked reading; it is valid only while the student's weights do not change.
    """
    prefix_cache = PrefixCache()  # for this call only: the weights may change before the next
    states = states or text_states(student)
    limits = BatchLimits.of(student, batch_size)

    def score(rows: Sequence[int]) -> Tensor:
        """Score the pairs with these indices: [n, 1 or 2]."""
        sides = [left[i] for i in rows], [right[i] for i in rows]
        if states is not None:
            output = states.encode_pairs(*sides, batch_size=limits.rows)
        else:
            output = _forward_pairs(student, *sides, return_embeddings=return_embeddings, prefix_cache=prefix_cache)
        columns = [output.answers[:, 1] - output.answers[:, 0]]
        if return_embeddings and output.left is not None and output.right is not None:
            columns.append((output.left * output.right).sum(1))
        return torch.stack(columns, dim=1)

    if len(left) != len(right):
        raise ValueError(f"{len(left)} left texts but {len(right)} right texts; give one of each per pair")
    found = _run_windows(
        student,
        len(left),
        limits,
        lengths=lambda window: student.prompt.pair_lengths(left[window], right[window]),
        compute=score,
        bar=(progress, "pair"),
    )
    values = found if len(left) else np.empty((0, 1 + return_embeddings), np.float32)
    return Scores(values[:, 0], values[:, 1] if return_embeddings else None)


def _forward_pairs(
    student: Student, left: Sequence[str], right: Sequence[str], *, return_embeddings: bool, prefix_cache: PrefixCache
) -> StudentOutput:
    """Run the student on a batch of pairs; padded rows use the prefix cache."""
    if student.padding_free:
        batch = to_device(student.collate(left, right, return_embeddings=return_embeddings), student.device)
        return student(batch, return_embeddings=return_embeddings)  # type: ignore[no-any-return]  # of torch's __call__
    batch, prefix = _split_prefix(student, student.prompt.pair_rows(left, right), prefix_cache)
    text_prefix = None
    if return_embeddings and student.prompt.reading == "separate":
        texts, text_prefix = _split_prefix(student, student.prompt.text_rows([*left, *right]), prefix_cache)
        batch |= {f"text_{name}": value for name, value in texts.items()}
    output: StudentOutput = student(batch, return_embeddings=return_embeddings, prefix=prefix, text_prefix=text_prefix)
    return output


def _split_prefix(
    student: Student, rows: Sequence[Row], prefix_cache: PrefixCache
) -> tuple[dict[str, Tensor], Prefix | None]:
    """Split the common prefix off the rows and encode it; return the padded rest and the prefix, on the student's device."""
    shared = shared_prefix(rows)
    prefix = None
    if student.supports_prefix_cache and len(shared) and max(len(row) for row in rows) <= student.window():
        prefix = prefix_cache.encoded(shared, student.encode_prefix)
        rows = [drop_prefix(row, len(shared)) for row in rows]
    return to_device(pad(rows, padding_id=student.prompt.padding_id), student.device), prefix


@torch.no_grad()
def encode_texts(
    student: Student, texts: Sequence[str], *, batch_size: int | None = None, progress: str | None = None
) -> Floats:
    """Embed texts alone: unit vectors [n, D] in the order of the input; batch_size as in `score_pairs`."""
    if not texts:
        return encode_texts(student, ["a"])[:0]  # no rows, but the usual D
    prefix_cache = PrefixCache()

    def embed(indices: Sequence[int]) -> Tensor:
        """Embed the texts with these indices: [n, D]."""
        rows = student.prompt.text_rows([texts[i] for i in indices])
        if student.padding_free:
            return student.embed_texts(to_device(pack(rows), student.device))
        batch, prefix = _split_prefix(student, rows, prefix_cache)
        return student.embed_texts(batch, prefix=prefix)

    return _run_windows(
        student,
        len(texts),
        BatchLimits.of(student, batch_size),
        lengths=lambda window: [len(ids) for ids, _ in student.prompt.text_ids(texts[window])],
        compute=embed,
        bar=(progress, "text"),
    )


def _run_windows(
    student: Student,
    count: int,
    limits: BatchLimits,
    *,
    lengths: Callable[[slice], Sequence[int]],
    compute: Callable[[Sequence[int]], Tensor],
    bar: tuple[str | None, str],
) -> Floats:
    """Run `compute` on all rows in batches; return its results [count, D] in the order of the rows.

    Results are copied to the host one window late: a GPU computes one window while the next is tokenised.
    Raises Abandoned between two batches, inside of `batching.abandoned_unless`.
    """
    student.eval()
    order, parts, pending = list[int](), list[Floats](), list[Tensor]()
    with student.eager_mode(), progress_bar(count, bar[0], unit=bar[1]) as progress:
        for window in _batches(count, limits, lengths):
            results = []
            for rows in window:
                check_wanted()
                results.append(compute(rows))
                order += rows
                progress.update(len(rows))
            parts += _to_host(pending)
            pending = results
        parts += _to_host(pending)
    return np.concatenate(parts)[np.argsort(order)] if parts else np.empty((0, 0), np.float32)


def _to_host(results: Sequence[Tensor]) -> list[Floats]:
    """Copy the results of one window to the host, in one copy."""
    return [torch.cat(list(results)).float().cpu().numpy()] if results else []


def _batches(count: int, limits: BatchLimits, lengths: Callable[[slice], Sequence[int]]) -> Iterator[list[list[int]]]:
    """Yield the batches of each window: indices of rows of similar length; `lengths` is called once per window."""
    for start in range(0, count, WINDOW):
        found = lengths(slice(start, start + WINDOW))
        batches = batches_by_length(found, limits.rows, most_tokens=limits.tokens)
        yield [[start + row for row in rows] for rows in batches]


@torch.no_grad()
def layer_states(
    student: Student,
    left: Sequence[str],
    right: Sequence[str],
    *,
    batch_size: int = LAYER_BATCH,
    progress: str | None = None,
) -> NDArray[np.float32]:
    """Compute the states after each layer [layers, N, hidden] at the last token of each pair's prompt.

    The last states are those after the final norm.
    """
    blocks = []
    with progress_bar(len(left), progress, unit="pair") as shown:
        for start in range(0, len(left), batch_size):
            rows = slice(start, start + batch_size)
            batch = to_device(student.collate(left[rows], right[rows], return_embeddings=False), student.device)
            blocks.append(student(batch, return_embeddings=False, return_layers=True).layers.float().cpu())
            shown.update(len(blocks[-1]))
    return torch.cat(blocks).transpose(0, 1).numpy()
