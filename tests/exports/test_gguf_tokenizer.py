"""The tokenizer in the form of llama.cpp: names of splitting rules, kinds of tokens, scores, and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from tiny import build_tokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from flipkd.errors import ConfigError
from flipkd.exports.gguf_tokenizer import CONTROL, NORMAL, SPLITS, UNUSED, USER_DEFINED, gguf_tokenizer

QWEN, LLAMA3 = SPLITS
SPACE = "\u2581"


def changed(**parts):
    """The tiny byte-level tokenizer with other parts of its tokenizer.json."""
    state = json.loads(build_tokenizer().backend_tokenizer.to_str())
    return SimpleNamespace(backend_tokenizer=SimpleNamespace(to_str=lambda: json.dumps(state | parts)))


def split(pattern, **changes):
    isolated = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} | changes
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [isolated, byte_level]}


def with_byte_fallback(merges=(("a", "b"), ("ab", "a"), ("a", "ba"), (SPACE, "a"))):
    """A BPE with the rules of Gemma; its vocabulary is in another order than its merges."""
    tokens = ["<unk>", "<bos>", "<0x61>", "a", "b", SPACE, f"{SPACE}a", "ba", "aba", "ab", "\n"]
    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", unk_token="<unk>")
    fast.add_tokens(["\n"])
    return fast


def test_byte_level_tokens_have_their_kinds():
    tokenizer = build_tokenizer()
    found = gguf_tokenizer(tokenizer, size=len(tokenizer) + 2)
    assert (found.model, found.pre, found.scores) == ("gpt2", "gpt-2", None)
    kinds = dict(zip(found.tokens, found.types, strict=True))
    assert (kinds["<bos>"], kinds["<think>"], kinds["\u0120yes"]) == (CONTROL, CONTROL, NORMAL)
    assert found.types[-2:] == [UNUSED] * 2
    assert tokenizer.convert_tokens_to_ids(found.tokens[:-2]) == list(range(len(tokenizer)))
    assert all(merge.count(" ") == 1 for merge in found.merges)


@pytest.mark.parametrize("pattern, name", [(QWEN, "qwen2"), (LLAMA3, "llama-bpe")])
def test_gguf_tokenizer_knows_the_names_of_expressions(pattern, name):
    assert gguf_tokenizer(changed(pre_tokenizer=split(pattern)), size=400).pre == name


def test_gguf_tokenizer_scores_give_the_order_of_the_merges():
    found = gguf_tokenizer(with_byte_fallback(merges=(("a", "b"), (SPACE, "a"), ("ab", "a"))), size=11)
    assert (found.model, found.pre, found.merges) == ("llama", "default", None)
    score = dict(zip(found.tokens, found.scores, strict=True))
    assert score["ab"] > score[f"{SPACE}a"] > score["aba"] > score["ba"]
    assert dict(zip(found.tokens, found.types, strict=True))["\n"] == USER_DEFINED


@pytest.mark.parametrize(
    "tokenizer, reason",
    [
        (changed(pre_tokenizer=split(r"\w+")), r"splits texts by"),
        (changed(pre_tokenizer=split(QWEN, behavior="Removed")), "splits texts by"),
        (changed(pre_tokenizer=None), "neither byte-level"),
        (changed(normalizer={"type": "Lowercase"}), "normaliser"),
        (changed(model={"type": "Unigram"}), "Unigram"),
        (with_byte_fallback(merges=(("a", "b"), ("a", "ba"), (SPACE, "a"), ("ab", "a"))), "not in one place"),
    ],
)
def test_gguf_tokenizer_refuses_one_without_an_equal_in_llama_cpp(tokenizer, reason):
    with pytest.raises(ConfigError, match=reason):
        gguf_tokenizer(tokenizer, size=400)


def test_gguf_tokenizer_refuses_byte_fallback_with_other_rules_for_spaces():
    tokenizer = with_byte_fallback()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    with pytest.raises(ConfigError, match="rules of Gemma"):
        gguf_tokenizer(tokenizer, size=11)
