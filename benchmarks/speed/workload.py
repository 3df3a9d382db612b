"""The pairs and the model that all contenders get, and the prompt text that peers get in place of our token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flipkd.student.prompt import Prompt

SEED = 0
BATCH = 16  # pairs per training step
SCORE_BATCH = 32  # pairs per pass when scoring, the default of all who score in batches
LORA_R, LORA_ALPHA = 16, 32
LEARNING_RATE = 5e-4
MAX_TEXT_LENGTH = 128


class MissingError(Exception):
    """A contender cannot run here: a package or file that it needs is not installed."""


@dataclass(frozen=True)
class Task:
    """N pairs in a fixed, seeded order, and the model's name or folder."""

    model: str
    left: Sequence[str]
    right: Sequence[str]
    label: Sequence[int]

    def first(self, count: int) -> Task:
        """The first `count` pairs; from the beginning again where there are too few."""
        rows = [row % len(self.left) for row in range(count)]
        left, right = ([side[row] for row in rows] for side in (self.left, self.right))
        return Task(self.model, left, right, [self.label[row] for row in rows])


def read_task(path: str, model: str) -> Task:
    """The labelled pairs of a file, shuffled."""
    from flipkd import read_pairs

    pairs = read_pairs(path)
    rows = [row for row, label in enumerate(pairs["label"]) if label is not None]
    order = np.random.default_rng(SEED).permutation(rows).tolist()
    left, right, label = ([pairs[name][row] for row in order] for name in ("text1", "text2", "label"))
    return Task(model, left, right, label)


def load_prompt(model: str) -> Prompt:
    """Our prompt with the model's tokenizer."""
    from flipkd.student.language_model import load_tokenizer
    from flipkd.student.prompt import Prompt, Template

    return Prompt(load_tokenizer(model), Template(), max_text_length=MAX_TEXT_LENGTH)


def unused(prompt: Prompt) -> Prompt:
    """The same prompt with no text tokenised yet."""
    from flipkd.student.prompt import Prompt

    return Prompt(prompt.tokenizer, prompt.template, reading=prompt.reading, max_text_length=prompt.max_text_length)


def cut_texts(prompt: Prompt, texts: Sequence[str]) -> list[str]:
    """Texts as the prompt truncates them."""
    return [
        prompt.tokenizer.decode(ids) if truncated else text
        for text, (ids, truncated) in zip(texts, prompt.text_ids(texts), strict=True)
    ]


def prompt_texts(prompt: Prompt, task: Task) -> list[str]:
    """The whole prompt of each pair as a string, without the token that begins every row."""
    template = prompt.template
    return [
        f"{template.instruction}{template.left}{left}{template.right}{right}{template.question}"
        for left, right in zip(cut_texts(prompt, task.left), cut_texts(prompt, task.right), strict=True)
    ]


def real_tokens(prompt: Prompt, task: Task, *, shared_once: bool = False) -> int:
    """Tokens of all rows without padding; with `shared_once` what all rows begin with counts for one row only."""
    from flipkd.student.prefix import shared_prefix

    rows = prompt.pair_rows(task.left, task.right)
    repeated = len(shared_prefix(rows)) * (len(rows) - 1) if shared_once else 0
    return sum(len(row) for row in rows) - repeated


def lora_config(model: Any) -> Any:
    """peft's own config for the places and the rank that our student has: every linear layer of the body."""
    from peft import LoraConfig

    from flipkd.student.readout import linear_modules

    names = sorted({name.rsplit(".", 1)[-1] for name in linear_modules(model)})
    return LoraConfig(r=LORA_R, lora_alpha=LORA_ALPHA, target_modules=names, task_type="CAUSAL_LM")
