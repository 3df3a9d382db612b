"""The tokenizer of a student in the form of llama.cpp: byte-level BPE by its regular expression, or byte-fallback BPE as SPM.

llama.cpp has the rules for splitting a text in its code, under names; a tokenizer whose rules have no name here is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flipkd.errors import ConfigError, shorten

# Regular expressions of tokenizer.json and their name in llama.cpp (src/llama-vocab.cpp).
_START, _END = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
SPLITS = {_START + r"\p{N}" + _END: "qwen2", _START + r"\p{N}{1,3}" + _END: "llama-bpe"}
BYTE_LEVEL = "gpt-2"  # the expression of ByteLevel itself
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # token types of GGUF
SPACE = "\u2581"


@dataclass(frozen=True)
class GgufTokenizer:
    """Values of the keys `tokenizer.ggml.*`; merges for byte-level BPE, scores for SPM."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] | None = None
    scores: list[float] | None = None


def gguf_tokenizer(tokenizer: Any, *, size: int) -> GgufTokenizer:
    """Convert a fast tokenizer; `size` is the number of rows of the embedding. Raises ConfigError for one that is not known."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model, added = state["model"], {token["id"]: token for token in state["added_tokens"]}
    if model["type"] != "BPE":
        raise _unknown(f"its model is {model['type']}, not BPE")
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
    by_id = {id_: token for token, id_ in model["vocab"].items()} | {id_: t["content"] for id_, t in added.items()}
    tokens = [by_id.get(id_, f"[PAD{id_}]") for id_ in range(size)]
    types = [_type(id_, by_id, added, model) for id_ in range(size)]
    if model["byte_fallback"]:
        _require_spm(state)
        return GgufTokenizer("llama", "default", tokens, types, scores=_scores(merges, tokens))
    pre = _split_name(state["pre_tokenizer"])
    if (state["normalizer"] or {"type": "NFC"}) != {"type": "NFC"}:  # flipkd's own normal form is in NFC
        raise _unknown(f"its normaliser is {shorten(json.dumps(state['normalizer']))}")
    return GgufTokenizer("gpt2", pre, tokens, types, merges=[" ".join(merge) for merge in merges])


def _unknown(reason: str) -> ConfigError:
    return ConfigError(
        f"this tokenizer cannot be written for llama.cpp with the same token ids: {reason}; the tokenizers of Gemma 3, Llama 3, "
        "Qwen 2 and 3 and GPT-2 can: export to onnx or merged instead"
    )


def _type(id_: int, by_id: dict[int, str], added: dict[int, Any], model: dict[str, Any]) -> int:
    if id_ not in by_id:
        return UNUSED
    if by_id[id_] == model["unk_token"]:
        return UNKNOWN
    if id_ in added:
        # llama.cpp always finds user-defined tokens in a text, control tokens on request; flipkd finds only white space.
        return USER_DEFINED if added[id_]["content"].isspace() else CONTROL
    is_byte = model["byte_fallback"] and len(by_id[id_]) == 6 and by_id[id_].startswith("<0x")
    return BYTE if is_byte else NORMAL


def _require_spm(state: dict[str, Any]) -> None:
    """Raise ConfigError unless spaces become SPACE, without one in front of the text."""
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    if state["normalizer"] != replaced or state["pre_tokenizer"] not in (None, split):
        raise _unknown("it has byte fallback, but not the rules of Gemma for spaces")


def _scores(merges: list[list[str]], tokens: list[str]) -> list[float]:
    """Return a score for each token that falls in the order of the merges: llama.cpp merges the pair of the highest score."""
    rank: dict[str, int] = {}
    previous = ""
    for left, right in merges:
        merged = left + right
        if merged != previous and merged in rank:
            raise _unknown(f"its merges to {shorten(merged)} are not in one place, so no score gives their order")
        rank.setdefault(merged, len(rank))
        previous = merged
    return [-float(rank[token]) if token in rank else -float(len(rank)) for token in tokens]


def _split_name(pre_tokenizer: dict[str, Any] | None) -> str:
    """Return the name in llama.cpp of a byte-level pre-tokenizer."""
    steps = [] if pre_tokenizer is None else pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    if not steps or steps[-1]["type"] != "ByteLevel" or steps[-1]["add_prefix_space"]:
        raise _unknown("it is neither byte-level nor with byte fallback")
    if len(steps) == 1 and steps[0]["use_regex"]:
        return BYTE_LEVEL
    split = steps[0]
    pattern = split.get("pattern", {}).get("Regex")
    known = split["type"] == "Split" and split.get("behavior") == "Isolated" and not split.get("invert")
    if len(steps) != 2 or not known or steps[1]["use_regex"] or pattern not in SPLITS:
        raise _unknown(f"it splits texts by {shorten(str(pattern))}")
    return SPLITS[pattern]
