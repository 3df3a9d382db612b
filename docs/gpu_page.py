"""Fill the table of docs/gpu.md from the memory function: `python docs/gpu_page.py`; a test fails when they differ."""

from __future__ import annotations

import re
from pathlib import Path

from transformers import Gemma3TextConfig, LlamaConfig, PreTrainedConfig, Qwen2Config

from flipkd.commands.results import text_table
from flipkd.config import StudentConfig
from flipkd.student.memory import Shape, largest_batch, shape_of, training_memory

PAGE = Path(__file__).with_name("gpu.md")
BLOCK = re.compile(r"(<!-- memory -->\n).*?(<!-- /memory -->)", re.DOTALL)
CARDS = (24, 48, 80, 141)  # GB
USABLE = 0.9  # the rest is for the driver, torch's libraries and gaps between tensors
LENGTHS = (45, 256)  # tokens of a pair: a short question twice, two paragraphs
MOST = 4096  # beyond it a batch is no matter of memory
SWITCHES = {
    "bfloat16": {},
    "bfloat16, checkpointing": {"activation_checkpointing": True},
    "4 bits": {"load_in_4bit": True},
    "4 bits, checkpointing": {"load_in_4bit": True, "activation_checkpointing": True},
}


def models() -> dict[str, PreTrainedConfig]:
    """Name -> published shape."""
    return {
        "gemma-3-270m": Gemma3TextConfig(
            **shape(262_144, 640, 2048, 18, 4, 1), head_dim=256, tie_word_embeddings=True
        ),
        "Qwen2.5-0.5B": Qwen2Config(**shape(151_936, 896, 4864, 24, 14, 2), tie_word_embeddings=True),
        "Qwen2.5-1.5B": Qwen2Config(**shape(151_936, 1536, 8960, 28, 12, 2), tie_word_embeddings=True),
        "Llama-3.2-3B": LlamaConfig(**shape(128_256, 3072, 8192, 28, 24, 8), head_dim=128, tie_word_embeddings=True),
        "Qwen2.5-7B": Qwen2Config(**shape(152_064, 3584, 18_944, 28, 28, 4), tie_word_embeddings=False),
        "Qwen2.5-14B": Qwen2Config(**shape(152_064, 5120, 13_824, 48, 40, 8), tie_word_embeddings=False),
    }


def shape(vocabulary: int, hidden: int, inner: int, layers: int, heads: int, keys: int) -> dict[str, int]:
    """The fields that all configurations share."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
    }


def table() -> str:
    """A row per model and settings: what stands whatever the batch, what a token takes, the largest batches per card."""
    header = ["model", "settings", "GB fixed", "KB a token", *(f"{card} GB" for card in CARDS)]
    rows = []
    for name, config in models().items():
        found = shape_of(config, StudentConfig())
        rows += [row(name, words, found, switches) for words, switches in SWITCHES.items()]
    return text_table(header, rows) + "\n"


def row(name: str, words: str, found: Shape, switches: dict[str, bool]) -> list[str]:
    """Cells of one model with one choice of settings."""
    fixed = training_memory(found, tokens=0, **switches).total
    token = (training_memory(found, tokens=1000, **switches).total - fixed) / 1000
    return [
        name,
        words,
        f"{fixed / 1e9:.1f}",
        f"{token / 1e3:,.0f}",
        *(batches(found, card, switches) for card in CARDS),
    ]


def batches(found: Shape, card: int, switches: dict[str, bool]) -> str:
    """The largest batch of each length, or a dash where not one pair fits."""
    counts = [
        largest_batch(found, budget=USABLE * card * 1e9, tokens_per_pair=length, **switches) for length in LENGTHS
    ]
    return " / ".join("-" if count == 0 else f"{MOST}+" if count >= MOST else str(count) for count in counts)


def page(text: str) -> str:
    """The page with the table as the function gives it."""
    return BLOCK.sub(lambda found: found[1] + table() + found[2], text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
