"""The pair tokenizer: for any texts, any program that reads tokenizer.json gets the ids and the segments of the prompt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_tokenizer
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from flipkd.exports.pair_tokenizer import caller_normalises, pair_backend, write_pair_tokenizer
from flipkd.student.prompt import Prompt, Template
from flipkd.text import folded, is_empty, normal_text

PROMPT = Prompt(build_tokenizer(), Template(), max_text_length=4000)
BACKEND = pair_backend(PROMPT)
BACKEND.encode_special_tokens = True
# Variants of letters (width, fonts) are the documented limit, and `<think>` is an added token that is not special.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: normal_text(text) == normal_text(folded(text)) and not is_empty(normal_text(text))
)


def without_variants(text):
    import unicodedata

    return normal_text(text) == unicodedata.normalize("NFC", folded(text))


@settings(max_examples=150, deadline=None)
@given(TEXTS.filter(without_variants), TEXTS.filter(without_variants))
def test_pair_tokenizer_has_the_ids_and_segments_of_the_prompt(left, right):
    row, found = PROMPT.pair_rows([left], [right])[0], BACKEND.encode(left, right)
    assert found.ids == row.ids
    assert found.type_ids == row.segment
    alone, found = PROMPT.text_rows([left])[0], BACKEND.encode(left)
    assert found.ids == alone.ids
    assert found.type_ids == alone.segment


def test_write_pair_tokenizer_gives_the_ids_to_transformers_and_tokenizers(tmp_path):
    prompt = Prompt(build_tokenizer(), Template(), max_text_length=8)
    write_pair_tokenizer(prompt, tmp_path, padding_side="left")
    pairs = [("my card", "the  fee\n"), ("pin " * 50, "fee " * 50), ("<eos>", "<pad>")]
    rows = [row.ids for row in prompt.pair_rows(*map(list, zip(*pairs, strict=True)))]
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert loaded(*map(list, zip(*pairs, strict=True)), truncation=True)["input_ids"] == rows
    assert loaded.padding_side == "left"
    assert loaded.model_max_length == prompt.longest
    plain = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert plain.encode(*pairs[0]).ids == rows[0]


@pytest.mark.parametrize("family, expected", [("llama", False), ("gemma3", False), ("qwen2", True)])
def test_caller_normalises_where_autotokenizer_drops_the_rules(base_models, tmp_path, family, expected):
    from transformers import AutoConfig

    AutoConfig.from_pretrained(base_models[family]).save_pretrained(tmp_path)
    prompt = Prompt(AutoTokenizer.from_pretrained(base_models[family]), Template())
    write_pair_tokenizer(prompt, tmp_path)
    assert caller_normalises(prompt, tmp_path) is expected


def test_a_prompt_without_normal_forms_has_no_rules():
    prompt = Prompt(build_tokenizer(), Template(), normalise=False)
    row = prompt.pair_rows(["two  words "], ["x"])[0]
    backend = pair_backend(prompt)
    assert backend.encode("two  words ", "x").ids == row.ids
    assert caller_normalises(prompt, None) is False


def test_white_space_and_control_tokens_are_not_found_in_a_text():
    r"""Gemma has `\n` as an added token and Qwen `<think>`, which is not special; the first must be folded, not found."""
    tokenizer = build_tokenizer()
    line_break = next(
        token for token in tokenizer.get_vocab() if tokenizer.decode(tokenizer.get_vocab()[token]) == "\n"
    )
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    own = state["model"]["vocab"].pop(line_break)
    state["model"]["vocab"]["\n"] = own
    token = {"id": own, "content": "\n", "special": False, "normalized": False}
    state["added_tokens"].append(token | dict.fromkeys(("single_word", "lstrip", "rstrip"), False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), pad_token="<pad>")
    prompt = Prompt(tokenizer, Template())
    backend = pair_backend(prompt)
    backend.encode_special_tokens = True
    for text in ("my\ncard", "a <think> b", "<eos>\n<think>"):
        assert backend.encode(text).ids == prompt.text_rows([text])[0].ids, text


def test_added_tokens_of_the_vocabulary_do_not_come_before_the_rules():
    from tokenizers import AddedToken

    tokenizer = build_tokenizer()
    for name in ("\n", "  ", "me"):  # Gemma has such tokens: in the vocabulary of the model, and added
        tokenizer.backend_tokenizer.add_tokens([AddedToken(name, normalized=False)])
    left = "two  spaces\nand a line"
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    described["model"]["vocab"] |= {token["content"]: token["id"] for token in described["added_tokens"]}
    added = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)), bos_token="<bos>", pad_token="<pad>"
    )
    prompt = Prompt(added, Template(left="A: ", right=" B: ", question=" Match, yes or no:"))
    assert pair_backend(prompt).encode(left, "x").ids == prompt.pair_rows([left], ["x"])[0].ids
    plain = Prompt(added, Template(), normalise=False)
    assert pair_backend(plain).encode(left, "x").ids == plain.pair_rows([left], ["x"])[0].ids


def test_pair_backend_keeps_the_ids_of_added_tokens_beyond_the_vocabulary():
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<end>"])
    backend = pair_backend(Prompt(tokenizer, Template()))
    for name in ("<pad>", "<bos>", "<eos>", "<think>", "<end>"):
        assert backend.token_to_id(name) == tokenizer.convert_tokens_to_ids(name)
