"""The peers where one query is ranked against documents: the same scorers, each turn with a query that is new to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from llama_cpp_peer import score_llama_cpp
from machine import Work, timed
from peers import need, score_generate, score_sentence_transformers
from workload import MAX_TEXT_LENGTH, SCORE_BATCH, Task, load_prompt, real_tokens

Repetition = Callable[[int], Work]


@dataclass(frozen=True)
class Queries(Task):
    """A task whose pairs are the next query with each of the documents."""

    queries: Iterator[str] = field(default_factory=lambda: iter(()))

    def first(self, count: int) -> Task:
        """The next query with the first `count` right texts."""
        part = super().first(count)
        return Task(part.model, [next(self.queries)] * count, part.right, part.label)


def queries(task: Task) -> Queries:
    """The left texts as queries, the right ones as documents."""
    return Queries(task.model, task.left, task.right, task.label, iter(list(dict.fromkeys(task.left))))


def ranked(scored: Repetition) -> Repetition:
    """A scorer's repetition as ranking: its scores are of queries of its own, so they are not held against others'."""
    return lambda count: replace(scored(count), scores=None)


def rank_sentence_transformers(task: Task) -> Repetition:
    """`CrossEncoder.predict` of the same LM."""
    return ranked(score_sentence_transformers(queries(task)))


def rank_generate(task: Task) -> Repetition:
    """transformers' `generate` of one word."""
    return ranked(score_generate(queries(task)))


def rank_llama_cpp(task: Task) -> Repetition:
    """llama-cpp-python, logits of yes and no."""
    return ranked(score_llama_cpp(queries(task)))


def rank_cross_encoder(task: Task) -> Repetition:
    """`CrossEncoder.predict` of a small encoder, as a fine-tuned teacher of that kind would score: MiniLM in float32."""
    need("sentence_transformers")
    from sentence_transformers import CrossEncoder

    from flipkd.models import model_path

    model = CrossEncoder(model_path("all-MiniLM-L6-v2"), num_labels=1, max_length=2 * MAX_TEXT_LENGTH, device="cpu")
    prompt, asked = load_prompt(task.model), queries(task)

    def repetition(count: int) -> Work:
        part = asked.first(count)
        pairs = list(zip(part.left, part.right, strict=True))
        seconds, _ = timed(lambda: model.predict(pairs, batch_size=SCORE_BATCH))
        return Work(seconds, count, real_tokens(prompt, part), 0.0)

    return repetition
