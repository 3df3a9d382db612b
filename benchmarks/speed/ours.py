"""Our contenders: training plain and flipped, scoring merged and int8, ranking with and without reuse.

Each is a function of the task that loads what it needs and returns `repetition(count) -> Work`. A repetition begins
with nothing cached: the student is fresh, or its prompt has not seen the texts.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from machine import Work, scoring_flops, timed, training_flops
from workload import (
    BATCH,
    LEARNING_RATE,
    LORA_ALPHA,
    LORA_R,
    MAX_TEXT_LENGTH,
    SCORE_BATCH,
    SEED,
    Task,
    real_tokens,
    unused,
)

if TYPE_CHECKING:
    from flipkd.config import TrainConfig
    from flipkd.data.pair_table import PairTable, TeacherSignal
    from flipkd.matcher import Matcher
    from flipkd.training.module import DistillationModule

Repetition = Callable[[int], Work]
PLAIN = {"answer_cross_entropy": 1.0}
NOTHING_WRITTEN = {"save_strategy": "no", "disable_tqdm": True}  # on top of what a run passes on
TEACHER_WIDTH = 384  # of all-MiniLM-L6-v2; a teacher's values cost a student nothing but the N x N grid


def settings(task: Task, **changes: Any) -> TrainConfig:
    """Settings of `flipkd train` with the same LoRA everywhere and one pass; what is changed to None keeps its default."""
    from flipkd.config import TrainConfig

    values = {
        "train_file": "train",
        "validation_file": "validation",
        "model_name_or_path": task.model,
        "max_text_length": MAX_TEXT_LENGTH,
        "lora_r": LORA_R,
        "lora_alpha": LORA_ALPHA,
        "readout_r": LORA_R,
        "num_train_epochs": 1,
        "per_device_train_batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
    }
    return TrainConfig.check({name: value for name, value in (values | changes).items() if value is not None})


def train(task: Task, **changes: Any) -> Repetition:
    """`fit` of a fresh student; its time is the Trainer's own `train_runtime`."""
    from flipkd.training.run import passed_on
    from flipkd.training.trainer import fit

    config = settings(task, **changes)
    arguments = passed_on(config) | NOTHING_WRITTEN

    def repetition(count: int) -> Work:
        part = task.first(count)
        module, table = learner(config, part)
        with TemporaryDirectory() as folder:
            seconds = fit(module, table, output_dir=Path(folder), arguments=arguments)["train_runtime"]
        return training_work(module, part, seconds=seconds, batch=BATCH)

    return repetition


def learner(config: TrainConfig, part: Task) -> tuple[DistillationModule, PairTable]:
    """A fresh student with its loss, and the pairs with random vectors of a teacher."""
    from flipkd.data.pair_table import PairTable
    from flipkd.training.module import DistillationModule
    from flipkd.training.run import fresh_student, run_objectives

    table = PairTable(
        left=part.left, right=part.right, label=np.array(part.label, np.int64), teacher=random_teacher(part)
    )
    student, _ = fresh_student(config)
    return DistillationModule(student, run_objectives(config, table, table)), table


def training_work(module: DistillationModule, part: Task, *, seconds: float, batch: int) -> Work:
    """What a pass over `part` has done that took so long, in steps of `batch` pairs."""
    student, count = module.student, len(part.left)
    tokens, rows = real_tokens(student.prompt, part), count
    if student.prompt.reading == "separate" and module.return_embeddings:
        tokens += sum(len(row) for row in student.prompt.text_rows([*part.left, *part.right]))
        rows += 2 * count
    repeated = len(student.prompt.head) * (rows - ceil(count / batch)) if module.after_head else 0
    flops = training_flops(student.language_model, tokens=tokens - repeated, pairs=count)
    return Work(seconds, count, tokens, flops)


def train_plain(task: Task) -> Repetition:
    """The label words' cross-entropy alone."""
    return train(task, objectives=PLAIN)


def train_compiled(task: Task) -> Repetition:
    """The same with compiled layers; the warm-up compiles them."""
    return train(task, objectives=PLAIN, torch_compile=True)


def train_flipped_joint(task: Task) -> Repetition:
    """The default objectives with a bi-encoder's vectors, read from the pass that answers."""
    return train(task, reading="joint")


def train_flipped_separate(task: Task) -> Repetition:
    """The default objectives with a bi-encoder's vectors, read from a pass over each text alone."""
    return train(task, reading="separate")


def random_teacher(task: Task) -> TeacherSignal:
    """A unit vector per text, the same for equal texts: what the store would give, from no model."""
    from flipkd.data.pair_table import TeacherSignal

    texts = {text: row for row, text in enumerate(dict.fromkeys([*task.left, *task.right]))}
    vectors = np.random.default_rng(SEED).normal(size=(len(texts), TEACHER_WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    left, right = (vectors[[texts[text] for text in side]] for side in (task.left, task.right))
    return TeacherSignal(left=left, right=right)


def save_matcher(task: Task, folder: Path, **changes: Any) -> None:
    """The folder of an untrained matcher (B is 0)."""
    from flipkd.files import new_folder
    from flipkd.training.run import fresh_student

    student, contract = fresh_student(settings(task, **changes))
    with new_folder(folder) as unfinished:
        student.save(unfinished, contract)


def merged_matcher(task: Task, **changes: Any) -> Matcher:
    """A matcher as a user loads it for speed: saved, loaded, LoRA folded into the weights."""
    from flipkd.matcher import Matcher

    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "matcher"
        save_matcher(task, folder, **changes)
        return Matcher.from_pretrained(folder, merge=True)


def score(task: Task, *, int8: bool = False, **changes: Any) -> Repetition:
    """`Matcher.predict`."""
    return scoring(task, merged_matcher(task, **changes), int8=int8, batch_size=SCORE_BATCH)


def scoring(task: Task, matcher: Matcher, *, int8: bool = False, **how: Any) -> Repetition:
    """`matcher.predict(pairs, **how)`."""
    model = matcher.student.language_model
    flops = scoring_flops(model, tokens=1, pairs=0), scoring_flops(model, tokens=0, pairs=1)
    if int8:
        quantize(model)

    def repetition(count: int) -> Work:
        part = task.first(count)
        matcher.student.prompt = unused(matcher.student.prompt)
        pairs = list(zip(part.left, part.right, strict=True))
        seconds, scores = timed(lambda: matcher.predict(pairs, **how))
        tokens = real_tokens(matcher.student.prompt, part)
        # Packed rows are each read whole; padded ones share what they begin with.
        computed = real_tokens(matcher.student.prompt, part, shared_once=not matcher.student.padding_free)
        return Work(seconds, count, tokens, flops[0] * computed + flops[1] * count, scores.tolist())

    return repetition


def score_int8(task: Task) -> Repetition:
    """`Matcher.predict` with the body's linear layers in int8, activations quantised as they come."""
    return score(task, int8=True)


def quantize(model: Any) -> None:
    """Put int8 layers in place of the body's linear ones; torch's take and give float32, so the rest becomes that."""
    import warnings

    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    model.float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that the function will move to torchao
        convert: Any = quantize_dynamic  # torch has no types here
        convert(model.get_decoder(), {torch.nn.Linear: per_channel_dynamic_qconfig}, inplace=True)


def rank(task: Task) -> Repetition:
    """`Matcher.rank` with blocked reading: a new query each time, against documents that the matcher has met."""
    return ranking(task, reading="blocked")


def rank_joint(task: Task) -> Repetition:
    """`Matcher.rank` with joint reading of the same pairs: the query is read once, each document anew."""
    return ranking(task, reading="joint")


def ranking(task: Task, **changes: Any) -> Repetition:
    """`Matcher.rank` of the right texts for a left one; the documents were met before, the query is new each time."""
    matcher = merged_matcher(task, **changes)
    queries = iter(list(dict.fromkeys(task.left)))
    met: set[int] = set()

    def repetition(count: int) -> Work:
        documents = task.first(count).right
        if count not in met:
            matcher.rank(next(queries), documents)
            met.add(count)
        query = next(queries)
        seconds, found = timed(lambda: matcher.rank(query, documents))
        scores = {row["corpus_id"]: row["score"] for row in found}
        prompt, part = matcher.student.prompt, Task(task.model, [query] * count, documents, [0] * count)
        tokens = real_tokens(prompt, part, shared_once=True)
        if prompt.reading == "blocked":  # the query alone, and the question for each document
            tokens = len(prompt.text_rows([query])[0]) - len(prompt.instruction) + count * len(prompt.question)
        return Work(seconds, count, tokens, 0.0, [scores[row] for row in range(count)])

    return repetition
