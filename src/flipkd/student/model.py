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

from flipkd.student.contract import ScoreContract
from flipkd.student.language_model import ADAPTER
from flipkd.student.prefix import Prefix, behind, without
from flipkd.student.prompt import Prompt
from flipkd.student.readout import Readout, down_projections
from flipkd.student.rows import LEFT_TEXT, RIGHT_TEXT, Row, attention_mask, pad, to_device

READOUT = "readout.safetensors"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class Reading:
    """What one pass gives: answers [N, 2] (no, yes) and, when asked for, unit vectors of both texts [N, D]; float32."""

    answers: Tensor
    left: Tensor | None = None
    right: Tensor | None = None


class Student(nn.Module):
    """A causal LM, its prompt and its readout; `forward` reads a padded batch of pairs."""

    def __init__(self, model: Any, prompt: Prompt, readout: Readout) -> None:
        super().__init__()
        self.model, self.prompt, self.readout = model, prompt, readout
        self.compiled = False  # whether the model's layers are

    @property
    def language_model(self) -> Any:
        """The causal LM itself, with LoRA layers in it but without peft's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def uncompiled(self) -> contextlib.AbstractContextManager[Any]:
        """A block in which layers run as written: behind a prefix each compiled one would be compiled for itself."""
        return torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext()

    @cached_property
    def keeps_prefixes(self) -> bool:
        """Whether all that a later token needs of earlier ones are their keys and values; a state-space layer has more."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        layers = DynamicCache(config=self.language_model.config).layers
        return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)

    def window(self) -> int:
        """Tokens that every layer sees at once: its sliding window, or any number."""
        return getattr(self.language_model.config, "sliding_window", None) or sys.maxsize

    def precision(self) -> torch.autocast:
        """The backbone's products run in the base model's dtype, whatever dtype the adapters are kept in."""
        dtype = self.language_model.dtype
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)

    def forward(
        self,
        batch: Mapping[str, Tensor],
        *,
        represent: bool = True,
        prefix: Prefix | None = None,
        text_prefix: Prefix | None = None,
    ) -> Reading:
        """Read pairs: input_ids, segment, position_ids [N, T]; for separate reading also the texts alone, `text_*` [2N, T].

        `represent=False` skips all work for the vectors. With `prefix` (for the texts alone: `text_prefix`) the rows hold
        what comes behind it.
        """
        separate = self.prompt.reading == "separate"
        if represent and not separate:
            self.readout.start()
        answers = self.answer(self.hidden(batch, **behind(prefix, len(batch["segment"])))[:, -1])
        if not represent:
            return Reading(answers)
        if separate:
            left, right = self.read_texts(batch, columns="text_", prefix=text_prefix).chunk(2)
        else:
            left, right = self.readout.pooled(batch["segment"] == LEFT_TEXT, batch["segment"] == RIGHT_TEXT)
            if prefix is not None and prefix.left is not None:
                left = prefix.left.expand(len(right), -1)
        return Reading(answers, left, right)

    def read_texts(self, batch: Mapping[str, Tensor], *, columns: str = "", prefix: Prefix | None = None) -> Tensor:
        """Unit vectors [n, D] of texts read alone, from a padded batch [n, T]."""
        self.readout.start()
        is_text = batch[columns + "segment"] == LEFT_TEXT
        self.hidden(batch, columns, **behind(prefix, len(is_text)))
        return self.readout.pooled(is_text)[0]

    @property
    def head_fits(self) -> bool:
        """Whether every layer sees the head from the end of the longest row, so that rows may stand behind a head read once."""
        return self.keeps_prefixes and len(self.prompt.head) > 0 and self.prompt.longest <= self.window()

    def read_head(self) -> Prefix:
        """What all rows begin with, for rows that were collated `behind_head`."""
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
        self, left: Sequence[str], right: Sequence[str], *, represent: bool, behind_head: bool = False
    ) -> dict[str, Tensor]:
        """The padded batch that `forward` reads, on the CPU; `behind_head` without what `read_head` reads.

        For separate reading also all texts alone, left ones first, as `text_*` [2N, T].
        """
        rows = {"": self.prompt.pair_rows(left, right)}
        if represent and self.prompt.reading == "separate":
            rows["text_"] = self.prompt.text_rows([*left, *right])
        skipped = len(self.prompt.head) if behind_head else 0
        return {
            kind + name: column
            for kind, whole in rows.items()
            for name, column in pad(
                [without(row, skipped) for row in whole], padding_id=self.prompt.padding_id
            ).items()
        }

    def hidden(
        self, batch: Mapping[str, Tensor], columns: str = "", *, cache: Any = None, before: Tensor | None = None
    ) -> Tensor:
        """Last hidden states [N, T, hidden]; the LM head is not run.

        `cache` takes up keys and values; it may hold those of earlier tokens, whose segments [N or 1, S] are `before`.
        """
        language_model, segment = self.language_model, batch[columns + "segment"]
        rows, length = segment.shape
        if before is not None:
            segment = torch.cat([before.expand(rows, -1), segment], dim=1)
        blocked = self.prompt.reading == "blocked" and columns == ""
        mask = attention_mask(segment, blocked=blocked, dtype=language_model.dtype)
        with self.precision():
            output = language_model.get_decoder()(
                input_ids=batch[columns + "input_ids"],
                attention_mask=mask[:, :, -length:] if blocked else mask,
                position_ids=batch[columns + "position_ids"],
                past_key_values=cache,
                use_cache=cache is not None,
            )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def answer(self, hidden: Tensor) -> Tensor:
        """Logits [N, 2] of the two label words: two rows of the LM head, in float32, softcapped as the model does."""
        head = self.language_model.get_output_embeddings()
        rows = torch.tensor(self.prompt.label_ids, device=hidden.device)
        bias = None if getattr(head, "bias", None) is None else head.bias[rows].float()
        with torch.autocast(hidden.device.type, enabled=False):  # it would round the product back to bfloat16
            logits = nn.functional.linear(hidden.float(), head.weight[rows].float(), bias)
        cap = getattr(self.language_model.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def save(self, folder: Path, contract: ScoreContract) -> None:
        """Write adapter, readout, tokenizer and contract into `folder` (which the caller makes atomic)."""
        from safetensors.torch import save_file

        self.model.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)
        (folder / ADAPTER / "README.md").unlink(missing_ok=True)
        save_file(down_projections(self.language_model, self.readout.places), folder / READOUT)
        self.prompt.tokenizer.save_pretrained(str(folder / TOKENIZER))
        contract.save(folder)
