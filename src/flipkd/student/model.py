"""The student: one causal LM with LoRA that answers yes or no about a pair and gives vectors of its texts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flipkd.student.adapter import save_adapter
from flipkd.student.attention import PACKED, only_attention
from flipkd.student.contract import ScoreContract
from flipkd.student.lora import Adapters
from flipkd.student.packing import last_states, padder
from flipkd.student.prefix import Prefix, drop_prefix, prefix_kwargs
from flipkd.student.prompt import Prompt
from flipkd.student.readout import Readout, down_projections
from flipkd.student.rows import (
    LEFT_TEXT,
    RIGHT_TEXT,
    Row,
    additive_mask,
    blocked_mask,
    pack,
    pad,
    to_device,
)

READOUT = "readout.safetensors"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class StudentOutput:
    """What one pass gives: answers [N, 2] (no, yes) and, when asked for, unit vectors of both texts [N, D]; float32."""

    answers: Tensor
    left: Tensor | None = None
    right: Tensor | None = None


class Student(nn.Module):
    """A causal LM, its prompt and its readout; `forward` reads a batch of pairs, padded or packed."""

    def __init__(self, model: Any, prompt: Prompt, readout: Readout) -> None:
        super().__init__()
        self.model, self.prompt, self.readout = model, prompt, readout
        self.compiled = False  # whether the model's layers are
        self.pad_to_buckets = False  # whether packed rows are rounded up to few shapes, for CUDA graphs
        self.adapters = Adapters(model)
        self.register_buffer("label_rows", torch.tensor(prompt.label_ids, device=self.device), persistent=False)

    def train(self, mode: bool = True) -> Student:
        """As any module; copies of the adapters from an earlier pass are let go."""
        self.adapters.forget()
        super().train(mode)
        return self

    @property
    def padding_free(self) -> bool:
        """Whether rows are laid end to end instead of padded."""
        return bool(self.language_model.config._attn_implementation == PACKED)

    @property
    def language_model(self) -> Any:
        """The causal LM itself, with LoRA layers in it but without peft's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def eager_mode(self) -> contextlib.AbstractContextManager[Any]:
        """A block in which layers run as written: behind a prefix each compiled one would be compiled for itself."""
        return torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext()

    @cached_property
    def supports_prefix_cache(self) -> bool:
        """Whether what rows begin with can be read once for all of them."""
        return only_attention(self.language_model.config)

    def window(self) -> int:
        """Tokens that every layer sees at once: its sliding window, or any number."""
        return getattr(self.language_model.config, "sliding_window", None) or sys.maxsize

    def precision(self) -> torch.autocast:
        """The backbone's products run in the base model's dtype, whatever dtype the adapters are kept in."""
        dtype = self.language_model.dtype
        enabled = dtype != torch.float32
        # Each weight is used once a pass, and a cache would outlive the recording of a CUDA graph.
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled, cache_enabled=False)

    def forward(
        self,
        batch: Mapping[str, Tensor],
        *,
        return_embeddings: bool = True,
        prefix: Prefix | None = None,
        text_prefix: Prefix | None = None,
    ) -> StudentOutput:
        """Read pairs as `collate` gives them: input_ids, segment, position_ids [N, T], or packed rows.

        For separate reading the batch holds the texts alone too: padded as `text_*` [2N, T], packed as further rows.
        `return_embeddings=False` skips all work for the vectors. With `prefix` (for the texts alone: `text_prefix`) the rows hold
        what comes behind it.
        """
        separate = return_embeddings and self.prompt.reading == "separate"
        packed = "gather" in batch
        if return_embeddings and (packed or not separate):
            self.readout.start()
        segment = batch["segment"]
        hidden = self.hidden(batch, **prefix_kwargs(prefix, len(segment)))
        rows = len(batch["last"]) if packed else len(segment)
        pairs = rows // 3 if separate and packed else rows
        answers = self.answer(last_states(hidden, batch)[:pairs])
        if not return_embeddings:
            return StudentOutput(answers)
        if separate:
            if packed:
                texts = self.readout.pooled(segment == LEFT_TEXT, pad=padder(batch))[0][pairs:rows]
            else:
                texts = self.read_texts(batch, columns="text_", prefix=text_prefix)
            return StudentOutput(answers, *texts.chunk(2))
        sides = self.readout.pooled(segment == LEFT_TEXT, segment == RIGHT_TEXT, pad=padder(batch))
        left, right = (side[:rows] for side in sides)
        if prefix is not None and prefix.left is not None:
            left = prefix.left.expand(len(right), -1)
        return StudentOutput(answers, left, right)

    def read_texts(self, batch: Mapping[str, Tensor], *, columns: str = "", prefix: Prefix | None = None) -> Tensor:
        """Unit vectors [n, D] of texts read alone, from a padded batch [n, T] or packed rows."""
        self.readout.start()
        is_text = batch[columns + "segment"] == LEFT_TEXT
        self.hidden(batch, columns, **prefix_kwargs(prefix, len(is_text)))
        return self.readout.pooled(is_text, pad=padder(batch))[0]

    @property
    def head_fits(self) -> bool:
        """Whether every layer sees the head from the end of the longest row, so that rows may stand behind a head read once."""
        return self.supports_prefix_cache and len(self.prompt.head) > 0 and self.prompt.longest <= self.window()

    def read_head(self) -> Prefix:
        """What all rows begin with, for rows that were collated `after_head`."""
        return self.read_prefix(self.prompt.head)

    def read_prefix(self, row: Row) -> Prefix:
        """Keys and values of what all rows of a batch begin with, and the left text's vector if it is in there."""
        from transformers import DynamicCache

        batch = to_device(pad([row], padding_id=self.prompt.padding_id), self.device)
        cache = DynamicCache(config=self.language_model.config)
        with_left = LEFT_TEXT in row.segment
        if with_left:
            self.readout.start()
        self.hidden(batch, cache=cache)
        left = self.readout.pooled(batch["segment"] == LEFT_TEXT)[0] if with_left else None
        return Prefix(batch["segment"][0], cache, left)

    def collate(
        self, left: Sequence[str], right: Sequence[str], *, return_embeddings: bool, after_head: bool = False
    ) -> dict[str, Tensor]:
        """The batch that `forward` reads, on the CPU; `after_head` without what `read_head` reads.

        For separate reading also all texts alone, left ones first: as `text_*` [2N, T], or as further packed rows.
        """
        rows = {"": self.prompt.pair_rows(left, right)}
        if return_embeddings and self.prompt.reading == "separate":
            rows["text_"] = self.prompt.text_rows([*left, *right])
        if self.padding_free:
            whole = [row for part in rows.values() for row in part]
            return pack(whole, padding_id=self.prompt.padding_id, pad_to_buckets=self.pad_to_buckets and self.training)
        skipped = len(self.prompt.head) if after_head else 0
        return {
            kind + name: column
            for kind, whole in rows.items()
            for name, column in pad(
                [drop_prefix(row, skipped) for row in whole], padding_id=self.prompt.padding_id
            ).items()
        }

    def hidden(
        self, batch: Mapping[str, Tensor], columns: str = "", *, cache: Any = None, before: Tensor | None = None
    ) -> Tensor:
        """Last hidden states [N, T, hidden] of padded rows, [1, total, hidden] of packed ones; the LM head is not run.

        `cache` takes up keys and values; it may hold those of earlier tokens, whose segments [N or 1, S] are `before`.
        """
        ids, packed = batch[columns + "input_ids"], "gather" in batch
        rows = (
            {name: batch[name] for name in ("gather", "scatter")} | {"rows": len(batch["segment"])} if packed else {}
        )
        self.adapters.copy()
        with self.precision():
            output = self.language_model.get_decoder()(
                input_ids=ids,
                attention_mask=self.mask(batch, columns, before=before),
                position_ids=batch[columns + "position_ids"],
                past_key_values=cache,
                use_cache=cache is not None,
                **rows,
            )
        if not torch.is_grad_enabled():
            self.adapters.forget()
        hidden: Tensor = output.last_hidden_state
        return hidden

    def mask(self, batch: Mapping[str, Tensor], columns: str = "", *, before: Tensor | None = None) -> Tensor | None:
        """The mask of blocked reading [N, 1, T, S + T]; else None, since a causal pass needs none behind which padding stands."""
        segment = batch[columns + "segment"]
        rows, length = segment.shape
        if self.prompt.reading == "blocked" and columns == "":
            if before is not None:
                segment = torch.cat([before.expand(rows, -1), segment], dim=1)
            mask = blocked_mask(segment)[:, :, -length:]
            return mask if self.padding_free else additive_mask(mask, self.language_model.dtype)
        # Four axes, so that transformers leaves it as it is and does not look for sequences in the packed positions.
        return torch.empty(0, 0, 0, 0, dtype=torch.bool, device=segment.device) if "gather" in batch else None

    def answer(self, hidden: Tensor) -> Tensor:
        """Logits [N, 2] of the two label words: two rows of the LM head, in float32, softcapped as the model does."""
        head = self.language_model.get_output_embeddings()
        rows = self.label_rows
        bias = None if getattr(head, "bias", None) is None else head.bias[rows].float()
        with torch.autocast(hidden.device.type, enabled=False):  # it would round the product back to bfloat16
            logits = nn.functional.linear(hidden.float(), head.weight[rows].float(), bias)
        cap = getattr(self.language_model.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def save(self, folder: Path, contract: ScoreContract) -> None:
        """Write adapter, readout, tokenizer and contract into `folder` (which the caller makes atomic)."""
        from safetensors.torch import save_file

        save_adapter(self.model, folder)
        save_file(down_projections(self.language_model, self.readout.places), folder / READOUT)
        self.prompt.tokenizer.save_pretrained(str(folder / TOKENIZER))
        contract.save(folder)
