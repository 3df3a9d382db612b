"""Scores of a causal LM by transformers alone: the answer at the last token, and the cosine of the readout's embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipkd.device import best_device
from flipkd.student.contract import ScoreContract
from flipkd.student.rows import LEFT_HEAD, LEFT_TEXT, QUESTION, RIGHT_HEAD, RIGHT_TEXT
from flipkd.text import normal_text

BATCH = 16
TEACHER = "teacher"  # subfolder of the export


class TransformersScorer:
    """A causal LM and a tokenizer of transformers, and A [r, inputs] of each readout module by its full name.

    `folder` has the teacher, where the score has a part of it.
    """

    reads_pairs = True
    truncates_each_text = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        contract: ScoreContract,
        *,
        down: Mapping[str, Tensor],
        folder: Path,
    ) -> None:
        device = best_device()
        self.model, self.tokenizer, self.contract = model.eval().to(device), tokenizer, contract
        self.down = {name: weight.to(device) for name, weight in down.items()}
        self.teacher = ExportedTeacher(folder / TEACHER, contract) if "teacher" in contract.score else None
        self._captured: dict[str, Tensor] = {}
        for name in self.down:
            model.get_submodule(name).register_forward_pre_hook(self._capture(name))

    def token_ids(self, left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each pair; each text is truncated alone."""
        return [row.ids for row in self._encode(left, right)]

    def scores(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Compute the weighted sum of answer, cosine and teacher score; the mean over both orders with `symmetric`."""
        orders = [(left, right), (right, left)] if self.contract.symmetric else [(left, right)]
        return np.asarray(np.mean([self._one_order(*sides) for sides in orders], axis=0), np.float32)

    def _one_order(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float64]:
        weights, total = self.contract.score, np.zeros(len(left))
        if self.teacher is not None:
            total += weights["teacher"] * self.teacher.scores(left, right)
        for start in range(0, len(left), BATCH):
            window = slice(start, start + BATCH)
            answer, cosine = self._batch(left[window], right[window], cosine="cosine" in weights)
            total[window] += weights.get("answer", 0.0) * answer
            if cosine is not None:
                total[window] += weights["cosine"] * cosine
        return total

    @torch.inference_mode()
    def _batch(
        self, left: Sequence[str], right: Sequence[str], *, cosine: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        ids, segment = self._padded(self._encode(left, right))
        hidden = self._run(ids, segment, blocked=self.contract.reading == "blocked")
        last = hidden[torch.arange(len(ids), device=hidden.device), (segment > 0).sum(1) - 1]
        answer = self._answer(last).cpu().numpy()
        if not cosine:
            return answer, None
        if self.contract.reading == "separate":
            ids, segment = self._padded(self._encode([*left, *right]))
            self._run(ids, segment, blocked=False)
            vectors = self._pooled(segment == LEFT_TEXT)
            sides = vectors[: len(left)], vectors[len(left) :]
        else:
            sides = self._pooled(segment == LEFT_TEXT), self._pooled(segment == RIGHT_TEXT)
        return answer, (sides[0] * sides[1]).sum(1).cpu().numpy()

    def _answer(self, last: Tensor) -> Tensor:
        """Compute logit(yes) - logit(no) [N] in float32; logits of 16 bits would be rounded before the subtraction."""
        head, rows = self.model.get_output_embeddings(), list(self.contract.label_ids)
        bias = None if getattr(head, "bias", None) is None else head.bias[rows].float()
        logits = torch.nn.functional.linear(last.float(), head.weight[rows].float(), bias)
        cap = getattr(self.model.config, "final_logit_softcapping", None)  # of Gemma 2
        logits = logits if cap is None else torch.tanh(logits / cap) * cap
        return logits[:, 1] - logits[:, 0]

    def _run(self, ids: Tensor, segment: Tensor, *, blocked: bool) -> Tensor:
        """Compute the last hidden states [N, T, hidden]; the inputs of the readout modules are captured."""
        self._captured = {}
        mask, position = (segment > 0).long(), None
        if blocked:
            mask, position = blocked_inputs(segment, dtype=self.model.dtype)
        body = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        output = body.get_decoder()(input_ids=ids, attention_mask=mask, position_ids=position, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _capture(self, name: str) -> Any:
        def hook(_module: Any, inputs: tuple[Tensor, ...]) -> None:
            self._captured[name] = inputs[0]

        return hook

    def _pooled(self, is_text: Tensor) -> Tensor:
        """Return unit vectors [N, D]: A x, averaged over a text's tokens, modules concatenated."""
        share = is_text.float() / is_text.sum(1, keepdim=True).clamp_min(1)
        means = [
            torch.einsum("nt,nti->ni", share, self._captured[name].float()) @ a.T for name, a in self.down.items()
        ]
        return torch.nn.functional.normalize(torch.cat(means, dim=1), dim=1)

    def _encode(self, left: Sequence[str], right: Sequence[str] | None = None) -> list[Any]:
        """Tokenise each text alone, truncate it to `max_text_length`, and add the template by the post-processor."""
        backend, most = self.tokenizer.backend_tokenizer, self.contract.max_text_length
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()

        def truncated(texts: Sequence[str]) -> Iterator[Any]:
            for encoding in backend.encode_batch(list(texts), add_special_tokens=False):
                encoding.truncate(most)
                yield encoding

        if right is None:
            return [backend.post_process(encoding) for encoding in truncated(left)]
        return [backend.post_process(a, b) for a, b in zip(truncated(left), truncated(right), strict=True)]

    def _padded(self, rows: list[Any]) -> tuple[Tensor, Tensor]:
        """Return ids and segments [N, T], padded on the right; the type ids of the tokenizer are the segments."""
        length = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        segment = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            segment[number, : len(row.ids)] = torch.tensor(row.type_ids)
        return ids.to(self.model.device), segment.to(self.model.device)


def blocked_inputs(segment: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the additive mask [N, 1, T, T] and the positions [N, T] of blocked reading from segments [N, T].

    The right block (head and text) does not attend to the left one and has the positions of a left one; the question follows
    the longer block and attends to both.
    """
    left = (segment == LEFT_HEAD) | (segment == LEFT_TEXT)
    right = (segment == RIGHT_HEAD) | (segment == RIGHT_TEXT)
    length, device = segment.shape[1], segment.device
    allowed = torch.ones(length, length, dtype=torch.bool, device=device).tril() & (segment > 0)[:, None]
    allowed = allowed & ~(right[:, :, None] & left[:, None, :])
    allowed = allowed | torch.eye(length, dtype=torch.bool, device=device)
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill(~allowed, torch.finfo(dtype).min)
    lefts, rights = left.sum(1, keepdim=True), right.sum(1, keepdim=True)
    count = torch.arange(length, device=device)[None].expand(segment.shape)
    question_back = lefts + rights - torch.maximum(lefts, rights)
    shift = torch.where(right, lefts, torch.where(segment == QUESTION, question_back, 0))
    shift = torch.where(segment == 0, question_back, shift)
    return mask[:, None], count - shift


class ExportedTeacher:
    """The teacher in an export, loaded by sentence-transformers."""

    def __init__(self, folder: Path, contract: ScoreContract) -> None:
        from sentence_transformers import CrossEncoder, SentenceTransformer

        kept = contract.teacher
        self.normalise = contract.text_normalisation is not None
        self.prompt = kept.prompt if kept else ""
        self.is_cross_encoder = kept is not None and kept.kind == "cross_encoder"
        self.model: Any = (CrossEncoder if self.is_cross_encoder else SentenceTransformer)(
            str(folder), device=best_device()
        )
        if kept is not None and kept.max_length is not None:
            self.model.max_seq_length = kept.max_length

    def scores(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Compute logits or cosines [N]."""
        if self.normalise:
            left, right = [normal_text(text) for text in left], [normal_text(text) for text in right]
        if self.is_cross_encoder:
            pairs = list(zip(left, right, strict=True))
            return np.asarray(self.model.predict(pairs, activation_fn=torch.nn.Identity()), np.float32)
        vectors = self.model.encode([*left, *right], prompt=self.prompt, normalize_embeddings=True)
        products: NDArray[np.float32] = (vectors[: len(left)] * vectors[len(left) :]).sum(1)
        return products
