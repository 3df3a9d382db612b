"""How cost grows: texts of 16 and of 128 tokens, memory of many pairs, the time from a command to its first score."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from machine import Work, timed
from ours import PLAIN, ranking, save_matcher, score, train
from workload import MAX_TEXT_LENGTH, SCORE_BATCH, SEED, Task, load_prompt

SHORT, PASSAGE, LONG = 16, 64, 128  # tokens of each text
LOADING = """
import sys
import torch
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
"""

Repetition = Callable[[int], Work]


def score_short(task: Task) -> Repetition:
    """`Matcher.predict` of texts of SHORT tokens."""
    return score(lengthened(task), max_text_length=SHORT)


def score_long(task: Task) -> Repetition:
    """`Matcher.predict` of texts of LONG tokens."""
    return score(lengthened(task), max_text_length=LONG)


def train_short(task: Task) -> Repetition:
    """Plain training on texts of SHORT tokens."""
    return train(lengthened(task), objectives=PLAIN, max_text_length=SHORT)


def train_long(task: Task) -> Repetition:
    """Plain training on texts of LONG tokens."""
    return train(lengthened(task), objectives=PLAIN, max_text_length=LONG)


def rank_long(task: Task) -> Repetition:
    """`Matcher.rank` with blocked reading of documents of PASSAGE tokens that it has met."""
    return ranking(lengthened(task), reading="blocked", max_text_length=PASSAGE)


def rank_joint_long(task: Task) -> Repetition:
    """The same with joint reading."""
    return ranking(lengthened(task), reading="joint", max_text_length=PASSAGE)


def lengthened(task: Task) -> Task:
    """Each text repeated until it has LONG tokens, so that truncation gives texts of one length."""
    prompt = load_prompt(task.model)

    def longer(text: str) -> str:
        ids, _ = prompt.text_ids([text])[0]
        return " ".join([text] * (LONG // max(len(ids) - 1, 1) + 1))

    left, right = ([longer(text) for text in side] for side in (task.left, task.right))
    return Task(task.model, left, right, task.label)


def memory(task: Task) -> Repetition:
    """Scoring through a tiny random model, so that what is left of the memory is our bookkeeping; all texts differ."""
    from flipkd.config import StudentConfig
    from flipkd.student.loading import new_student
    from flipkd.student.scoring import score_pairs

    with TemporaryDirectory() as folder:
        save_tiny_model(task.model, folder)
        lora = {"lora_r": 2, "lora_alpha": 4, "readout_r": 2}
        length = {"max_text_length": MAX_TEXT_LENGTH}
        student, _ = new_student(StudentConfig(model_name_or_path=str(folder), dtype="float32", **lora, **length))

    def repetition(count: int) -> Work:
        part = task.first(count)
        left, right = ([f"{text} {row}" for row, text in enumerate(side)] for side in (part.left, part.right))
        seconds, found = timed(lambda: score_pairs(student, left, right, batch_size=SCORE_BATCH))
        return Work(seconds, len(found.answer), 0, 0.0)

    return repetition


def save_tiny_model(model: str, folder: str) -> None:
    """A random llama of one layer with the tokenizer of `model`."""
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    save_random_model(model, folder, kind="llama", dtype="float32", **shape)


def save_random_model(model: str, folder: str, *, kind: str, dtype: str, device: str = "cpu", **shape: Any) -> None:
    """A random model of transformers' `kind` and a shape, made on `device`, with the tokenizer of `model`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from flipkd.student.language_model import DTYPES, load_tokenizer

    tokenizer = load_tokenizer(model)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **shape)
    torch.manual_seed(SEED)
    with torch.device(device):
        made = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def startup_match(task: Task) -> Repetition:
    """`flipkd match` of one pair as a process of its own, from its start to its end."""
    code, texts = "from flipkd.cli import main; main()", ["--text1", task.left[0], "--text2", task.right[0]]

    scratch = mkdtemp()
    atexit.register(shutil.rmtree, scratch)
    save_matcher(task, Path(scratch) / "matcher")

    def repetition(_count: int) -> Work:
        seconds, said = timed(lambda: run(code, "match", "--matcher", f"{scratch}/matcher", *texts))
        return Work(seconds, 1, 0, 0.0, [json.loads(said)["score"]])

    return repetition


def startup_load(task: Task) -> Repetition:
    """A process that loads the same weights through transformers and ends."""
    from flipkd.models import model_path

    path = str(model_path(task.model))
    return lambda _count: Work(timed(lambda: run(LOADING, path))[0], 1, 0, 0.0)


def run(code: str, *words: str) -> str:
    """What Python code prints as a process of its own; raises when it fails."""
    return subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True).stdout
