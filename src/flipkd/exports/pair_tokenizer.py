"""A tokenizer folder whose pairs have the token ids of the prompt: `tokenizer(text1, text2)` adds the template itself.

The template is in the post-processor, as the token ids of its parts, so both texts are tokenised alone, as in training.
The rules that normalise texts (flipkd/text.py) precede the tokenizer's own normalizer. `tokenizer(text)` is the row of a text
alone. Every program that reads tokenizer.json gets these ids: transformers, sentence-transformers, tokenizers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, processors
from transformers import AutoTokenizer

from flipkd.errors import ConfigError
from flipkd.files import write_json
from flipkd.student.language_model import SPECIAL_TOKENS
from flipkd.student.prompt import Prompt
from flipkd.student.rows import INSTRUCTION, LEFT_HEAD, LEFT_TEXT, QUESTION, RIGHT_HEAD, RIGHT_TEXT
from flipkd.text import IGNORABLE, JOINER

# White space of Python's str.split().
SPACE = r"[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"


def write_pair_tokenizer(prompt: Prompt, folder: Path, *, padding_side: str = "right", segments: bool = False) -> None:
    """Write tokenizer.json and tokenizer_config.json into `folder`.

    Longer rows are truncated to the template and two texts of the greatest length, which a library does for both texts
    together. `segments`: calls return `token_type_ids` by default, the kind of each token as in flipkd/student/rows.py.
    Raises ConfigError for a tokenizer that is not of the tokenizers library.
    """
    backend = pair_backend(prompt)
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = prompt.tokenizer
    named = {name: str(value) for name in SPECIAL_TOKENS if (value := getattr(tokenizer, name, None)) is not None}
    named["pad_token"] = tokenizer.convert_ids_to_tokens(prompt.padding_id)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": prompt.longest,
        "padding_side": padding_side,
        "truncation_side": "right",
        "split_special_tokens": True,  # a text that spells a control token stays a text
        "model_input_names": ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", named | settings)


def caller_normalises(prompt: Prompt, folder: Path) -> bool:
    """Return whether AutoTokenizer drops the normalizer of the written tokenizer.json, as it does for qwen2.

    For some model types it builds a tokenizer of its own class, and reads only vocabulary and template from the file. The
    folder must hold config.json.
    """
    if not prompt.normalise:
        return False
    text = "two  words"
    loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return bool(loaded(text)["input_ids"] != loaded(" ".join(text.split()))["input_ids"])


def normalisation_limits(prompt: Prompt, *, by_caller: bool) -> list[str]:
    """Return the sentence about the texts that the caller has to normalise; none for a matcher without normal forms."""
    if not prompt.normalise:
        return []
    if by_caller:
        return [
            "AutoTokenizer drops the rules that normalise texts for this model type: apply flipkd.text.normal_text to every "
            "text, or load the tokenizer with PreTrainedTokenizerFast"
        ]
    return [
        "letters of another width or font (\uff4e\uff4f\uff57, \ufb01) are not replaced by plain ones: apply "
        "flipkd.text.normal_text to such texts"
    ]


def truncation_limits(prompt: Prompt) -> list[str]:
    """Return the sentence about truncation, for libraries that truncate both texts together."""
    most = prompt.max_text_length
    return [
        f"a text of more than {most} tokens is truncated only when both texts together have more than {2 * most}: the score "
        "of such a pair differs"
    ]


def pair_backend(prompt: Prompt) -> Any:
    """Return a copy of the prompt's tokenizer (of the tokenizers library) that normalises texts and adds the template."""
    source = getattr(prompt.tokenizer, "backend_tokenizer", None)
    if source is None:
        raise ConfigError(
            "this base model has no tokenizer.json, which an export needs; train over a base model that has one"
        )
    backend = Tokenizer.from_str(json.dumps(_without_control_tokens(json.loads(source.to_str()), prompt)))
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = False
    steps = text_normalizers() if prompt.normalise else []
    if backend.normalizer is not None:
        steps.append(backend.normalizer)
    if steps:
        backend.normalizer = normalizers.Sequence(steps)
    backend.post_processor = _template(prompt)
    return backend


def _without_control_tokens(state: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Change the added tokens of a tokenizer.json so that a text has the tokens that the prompt finds in it.

    They are found in a text before it is normalised. White space (`\\n` of Gemma) must not be, if it is folded later. Other
    tokens (`<think>` of Qwen) are not found if they are special and `encode_special_tokens` is set.
    """
    entries = state["model"]["vocab"]  # a list of pairs in Unigram
    vocabulary = set(entries if isinstance(entries, dict) else [token for token, _ in entries])
    if prompt.normalise:
        state["added_tokens"] = [
            token
            for token in state["added_tokens"]
            if not (token["content"].isspace() and token["content"] in vocabulary)
        ]
    for token in state["added_tokens"]:
        token["special"] = token["special"] or not token["content"].isspace()
    return state


def text_normalizers() -> list[Any]:
    """Return normalizers for the rules of flipkd/text.py, except those for variants of letters (width, fonts, ligatures)."""
    return [
        normalizers.Replace(_pattern(IGNORABLE.pattern), ""),
        normalizers.Replace(_pattern(JOINER.pattern), ""),
        normalizers.Replace(_pattern(SPACE), " "),
        normalizers.Strip(),
        normalizers.NFC(),
    ]


def _pattern(pattern: str) -> Any:
    """Convert a pattern of Python to one of the tokenizers library, in which `\\x85` is a byte and `\\x{85}` a character."""
    escape = r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})"
    return Regex(re.sub(escape, lambda found: f"\\x{{{found[found.lastindex or 0]}}}", pattern))


def _template(prompt: Prompt) -> Any:
    """Return the post-processor that adds the template; each part is one special token with several ids."""
    parts = {
        "instruction": (prompt.instruction, INSTRUCTION),
        "left": (prompt.left_head, LEFT_HEAD),
        "right": (prompt.right_head, RIGHT_HEAD),
        "question": (prompt.question, QUESTION),
    }
    present = {name: part for name, part in parts.items() if part[0]}

    def row(*names: str) -> list[str]:
        texts = {"$A": LEFT_TEXT, "$B": RIGHT_TEXT}
        kinds = {name: f"{name}:{kind}" for name, kind in texts.items()}
        kinds |= {name: f"{name}:{kind}" for name, (_, kind) in present.items()}
        return [kinds[name] for name in names if name in kinds]

    tokens = prompt.tokenizer.convert_ids_to_tokens
    return processors.TemplateProcessing(
        single=row("instruction", "left", "$A"),
        pair=row("instruction", "left", "$A", "right", "$B", "question"),
        special_tokens=[{"id": name, "ids": ids, "tokens": tokens(ids)} for name, (ids, _) in present.items()],
    )
