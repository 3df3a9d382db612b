"""The student: one causal LM with LoRA that answers yes or no about a pair and embeds its texts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import DynamicCache

from flipkd.errors import UsageError
from flipkd.models.hub_names import hub_id
from flipkd.student.adapter import save_adapter
from flipkd.student.attention import PACKED, has_only_attention
from flipkd.student.contract import ScoreContract
from flipkd.student.label_head import LabelHead, label_head, label_logits
from flipkd.student.lora import Adapters
from flipkd.student.packing import last_states, padder
from flipkd.student.prefix import Prefix, drop_prefix, prefix_kwargs
from flipkd.student.prompt import Prompt
from flipkd.student.readout import Readout, down_projections
from flipkd.student.rows import LEFT_TEXT, RIGHT_TEXT, Row, additive_mask, blocked_mask, pack, pad, to_device

READOUT = "readout.safetensors"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class StudentOutput:
    """Output of one pass in float32: answers [N, 2] (no, yes) and, on request, unit vectors of both texts [N, D].

    layers: on request [N, K, H], the hidden states after each of K layers at the last token, in the model's dtype.
    """

    answers: Tensor
    left: Tensor | None = None
    right: Tensor | None = None
    layers: Tensor | None = None


class Student(nn.Module):
    """A causal LM with its prompt and its readout; `forward` takes a batch of pairs, padded or packed."""

    label_rows: Tensor

    def __init__(self, model: Any, prompt: Prompt, readout: Readout) -> None:
        super().__init__()
        self.model, self.prompt, self.readout = model, prompt, readout
        self.compiled = False  # true if the model's layers are compiled
        self.pad_to_buckets = False  # true if packed rows are rounded up to few shapes, for CUDA graphs
        self.sharded = False  # true if each rank has a part of the base (sharded.py): then all ranks run every pass
        self.label_head: LabelHead | None = None  # a copy, if the LM head was freed
        self.adapters = Adapters(model)
        self.register_buffer("label_rows", torch.tensor(prompt.label_ids, device=self.device), persistent=False)

    def train(self, mode: bool = True) -> Student:
        """Set the training mode as in any module, and release the copies of the adapters from an earlier pass."""
        self.adapters.release()
        super().train(mode)
        return self

    def __reduce__(self) -> NoReturn:
        """Raise UsageError: the hooks of a copy would store what they capture in the readout of the original."""
        raise UsageError(
            "a matcher cannot be pickled or deep-copied; give a process the path of its folder, and load it there with "
            "Matcher.from_pretrained"
        )

    @property
    def padding_free(self) -> bool:
        """True if rows are packed instead of padded."""
        return bool(self.language_model.config._attn_implementation == PACKED)

    @property
    def language_model(self) -> Any:
        """The causal LM with its LoRA layers, without peft's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def eager_mode(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context manager that runs compiled layers in eager mode; with a prefix cache each would be compiled alone."""
        return torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext()

    @cached_property
    def supports_prefix_cache(self) -> bool:
        """True if keys and values of a common prefix can be computed once for all rows."""
        return has_only_attention(self.language_model.config)

    def window(self) -> int:
        """Return the sliding window of the model in tokens; sys.maxsize without one."""
        return getattr(self.language_model.config, "sliding_window", None) or sys.maxsize

    def precision(self) -> torch.autocast:
        """Return an autocast context: the backbone runs in the base model's dtype, the adapters stay in float32."""
        dtype = self.language_model.dtype
        enabled = dtype != torch.float32
        # Each weight is used once per pass, and a cache would outlive the capture of a CUDA graph.
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled, cache_enabled=False)

    def forward(
        self,
        batch: Mapping[str, Tensor],
        *,
        return_embeddings: bool = True,
        return_layers: bool = False,
        prefix: Prefix | None = None,
        text_prefix: Prefix | None = None,
    ) -> StudentOutput:
        """Run the model on a batch from `collate`: input_ids, segment, position_ids [N, T], or packed rows.

        For separate reading the batch also holds each text alone: padded as `text_*` [2N, T], packed as further rows.
        `return_embeddings=False` skips all work for the embeddings; `return_layers` returns the states of all layers.
        With `prefix` (for the texts alone: `text_prefix`) the rows hold only the tokens after it.
        """
        separate = return_embeddings and self.prompt.reading == "separate"
        packed = "gather" in batch
        if return_embeddings and (packed or not separate):
            self.readout.start()
        segment = batch["segment"]
        states = self.layer_states(batch, every_layer=return_layers, **prefix_kwargs(prefix, len(segment)))
        rows = len(batch["last"]) if packed else len(segment)
        pairs = rows // 3 if separate and packed else rows
        layers = torch.stack([last_states(h, batch)[:pairs] for h in states], dim=1) if return_layers else None
        answers = self.answer(last_states(states[-1], batch)[:pairs])
        if not return_embeddings:
            return StudentOutput(answers, layers=layers)
        if separate:
            if packed:
                texts = self.readout.pooled(segment == LEFT_TEXT, pad=padder(batch))[0][pairs:rows]
            else:
                alone = {name.removeprefix("text_"): batch[name] for name in batch if name.startswith("text_")}
                texts = self.embed_texts(alone, prefix=text_prefix)
            left, right = texts.chunk(2)
            return StudentOutput(answers, left, right, layers)
        sides = self.readout.pooled(segment == LEFT_TEXT, segment == RIGHT_TEXT, pad=padder(batch))
        left, right = (side[:rows] for side in sides)
        if prefix is not None and prefix.left is not None:
            left = prefix.left.expand(len(right), -1)
        return StudentOutput(answers, left, right, layers)

    def embed_texts(self, batch: Mapping[str, Tensor], *, prefix: Prefix | None = None) -> Tensor:
        """Embed texts alone: unit vectors [n, D] from a padded batch [n, T] or packed rows."""
        self.readout.start()
        is_text = batch["segment"] == LEFT_TEXT
        self.hidden(batch, **prefix_kwargs(prefix, len(is_text)))
        return self.readout.pooled(is_text, pad=padder(batch))[0]

    @property
    def can_cache_head(self) -> bool:
        """True if rows can use a cached head: every layer attends to the head from the end of the longest row."""
        return self.supports_prefix_cache and len(self.prompt.head) > 0 and self.prompt.longest <= self.window()

    def encode_prefix(self, row: Row) -> Prefix:
        """Compute keys and values of the common prefix of a batch, and the left text's vector if the prefix contains it."""
        batch = to_device(pad([row], padding_id=self.prompt.padding_id), self.device)
        cache = DynamicCache(config=self.language_model.config)
        with_left = LEFT_TEXT in row.segment
        if with_left:
            self.readout.start()
        self.hidden(batch, cache=cache)
        left = self.readout.pooled(batch["segment"] == LEFT_TEXT)[0] if with_left else None
        return Prefix(batch["segment"][0], cache, left)

    def collate(
        self, left: Sequence[str], right: Sequence[str], *, return_embeddings: bool, drop_head: bool = False
    ) -> dict[str, Tensor]:
        """Build the batch for `forward` on the CPU; `drop_head` leaves out `prompt.head`, which is then the prefix.

        For separate reading it also holds each text alone, left texts first: as `text_*` [2N, T], or as further packed rows.
        """
        rows = {"": self.prompt.pair_rows(left, right)}
        if return_embeddings and self.prompt.reading == "separate":
            rows["text_"] = self.prompt.text_rows([*left, *right])
        if self.padding_free:
            all_rows = [row for part in rows.values() for row in part]
            buckets = self.pad_to_buckets and self.training
            return pack(all_rows, padding_id=self.prompt.padding_id, pad_to_buckets=buckets)
        dropped = len(self.prompt.head) if drop_head else 0
        batch: dict[str, Tensor] = {}
        for columns, part in rows.items():
            padded = pad([drop_prefix(row, dropped) for row in part], padding_id=self.prompt.padding_id)
            batch |= {columns + name: column for name, column in padded.items()}
        return batch

    def hidden(
        self, batch: Mapping[str, Tensor], *, cache: Any = None, prefix_segment: Tensor | None = None
    ) -> Tensor:
        """Compute the last hidden states [N, T, hidden] of padded rows, [1, total, hidden] of packed ones, without the LM head.

        Keys and values are appended to `cache`. It may hold those of earlier tokens; `prefix_segment` [N or 1, S] are their
        segments.
        """
        return self.layer_states(batch, cache=cache, prefix_segment=prefix_segment)[-1]

    def layer_states(
        self,
        batch: Mapping[str, Tensor],
        *,
        every_layer: bool = False,
        cache: Any = None,
        prefix_segment: Tensor | None = None,
    ) -> Sequence[Tensor]:
        """Compute `hidden` or, with `every_layer`, the states after each of K layers, the last ones after the final norm."""
        rows = {name: batch[name] for name in ("gather", "scatter") if name in batch}
        self.adapters.copy()
        with self.precision():
            output = self.language_model.get_decoder()(
                input_ids=batch["input_ids"],
                attention_mask=self.mask(batch, prefix_segment=prefix_segment),
                position_ids=batch["position_ids"],
                past_key_values=cache,
                use_cache=cache is not None,
                **(rows | {"rows": len(batch["segment"])} if rows else {}),
                **({"output_hidden_states": True} if every_layer else {}),
            )
        if not torch.is_grad_enabled():
            self.adapters.release()
        # The first of the hidden states are the embeddings of the tokens.
        return (*output.hidden_states[1:-1], output.last_hidden_state) if every_layer else (output.last_hidden_state,)

    def mask(self, batch: Mapping[str, Tensor], *, prefix_segment: Tensor | None = None) -> Tensor | None:
        """Return the mask of blocked reading [N, 1, T, S + T]; else None: causal attention never sees padding on the right."""
        segment = batch["segment"]
        rows, length = segment.shape
        if self.prompt.reading == "blocked":
            if prefix_segment is not None:
                segment = torch.cat([prefix_segment.expand(rows, -1), segment], dim=1)
            mask = blocked_mask(segment)[:, :, -length:]
            return mask if self.padding_free else additive_mask(mask, self.language_model.dtype)
        # With four axes transformers uses it unchanged and does not look for sequences in the packed positions.
        return torch.empty(0, 0, 0, 0, dtype=torch.bool, device=segment.device) if "gather" in batch else None

    def answer(self, hidden: Tensor) -> Tensor:
        """Compute the logits [N, 2] of the label words from two rows of the LM head, in float32, with the model's softcap."""
        head = self.label_head or label_head(self.language_model, self.label_rows)
        return label_logits(hidden, head, softcap=getattr(self.language_model.config, "final_logit_softcapping", None))

    def save(self, folder: Path, contract: ScoreContract) -> None:
        """Write adapter, readout, tokenizer and contract into `folder`; the caller makes this atomic."""
        save_adapter(self.model, folder, base=hub_id(contract.base_model_name_or_path))
        save_file(down_projections(self.language_model, self.readout.module_names), folder / READOUT)
        self.prompt.tokenizer.save_pretrained(str(folder / TOKENIZER))
        contract.save(folder)
