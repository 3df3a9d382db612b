"""What a user would run instead, on the same pairs, prompt text, model, LoRA and dtype; each as its documentation advises.

What is better for a peer than its defaults is switched on: no gradient checkpointing (ours has none), batches of like
length where it can make them, left padding; trainers are built, and data sets tokenised by them, outside the time.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import torch
from machine import Work, timed
from workload import (
    BATCH,
    LEARNING_RATE,
    SCORE_BATCH,
    MissingError,
    Task,
    cut_texts,
    load_prompt,
    lora_config,
    prompt_texts,
    real_tokens,
)

Repetition = Callable[[int], Work]
TRAINING: dict[str, Any] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": BATCH,
    "learning_rate": LEARNING_RATE,
    "bf16": True,
    "use_cpu": not torch.cuda.is_available(),  # transformers takes bf16 on a CPU only when told so
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": torch.cuda.is_available(),
}


GROUPED = {"train_sampling_strategy": "group_by_length"}


def need(package: str) -> None:
    """Raise MissingError unless the package is installed."""
    if importlib.util.find_spec(package) is None:
        raise MissingError(f"{package} is not installed")


def base_model(task: Task) -> Any:
    """The causal LM in bfloat16 with the attention that transformers chooses."""
    from transformers import AutoModelForCausalLM

    from flipkd.models import model_path

    return AutoModelForCausalLM.from_pretrained(model_path(task.model), dtype=torch.bfloat16, trust_remote_code=False)


def train_trl(task: Task, **changes: Any) -> Repetition:
    """TRL's SFTTrainer: prompt and label word, loss on the label word, LoRA by peft_config, rows grouped by length.

    `changes` are fields of its SFTConfig.
    """
    need("trl")
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]  # trl loads its names on first use

    prompt = load_prompt(task.model)
    words = prompt.template.no, prompt.template.yes

    def repetition(count: int) -> Work:
        part = task.first(count)
        rows = {"prompt": prompt_texts(prompt, part), "completion": [words[label] for label in part.label]}
        model = base_model(task)
        with TemporaryDirectory() as folder:
            trainer = SFTTrainer(
                model=model,
                args=SFTConfig(output_dir=folder, completion_only_loss=True, **TRAINING | GROUPED | changes),
                train_dataset=Dataset.from_dict(rows),
                processing_class=prompt.tokenizer,
                peft_config=lora_config(model),
            )
            seconds = trainer.train().metrics["train_runtime"]
        return Work(seconds, count, real_tokens(prompt, part), 0.0)

    return repetition


def train_sentence_transformers(task: Task, **changes: Any) -> Repetition:
    """CrossEncoderTrainer with binary cross-entropy on the logit-score head, LoRA by `add_adapter`.

    `changes` are fields of its CrossEncoderTrainingArguments.
    """
    need("sentence_transformers")
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    prompt = load_prompt(task.model)

    def repetition(count: int) -> Work:
        part = task.first(count)
        model = cross_encoder(task)
        model.add_adapter(lora_config(model[0].model))
        sides = {"text1": cut_texts(prompt, part.left), "text2": cut_texts(prompt, part.right)}
        rows = sides | {"label": [float(label) for label in part.label]}
        with TemporaryDirectory() as folder:
            trainer = CrossEncoderTrainer(
                model=model,
                args=CrossEncoderTrainingArguments(output_dir=folder, **TRAINING | changes),
                train_dataset=Dataset.from_dict(rows),
                loss=BinaryCrossEntropyLoss(model),
            )
            seconds = trainer.train().metrics["train_runtime"]
        return Work(seconds, count, real_tokens(prompt, part), 0.0)

    return repetition


def cross_encoder(task: Task) -> Any:
    """A CrossEncoder of causal LM and LogitScore; our template is its chat template, as its documentation advises."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    from flipkd.device import best_device
    from flipkd.models import model_path

    prompt = load_prompt(task.model)
    no, yes = prompt.label_ids
    language_model = Transformer(
        model_path(task.model),
        transformer_task="text-generation",
        model_kwargs={"dtype": torch.bfloat16},
        processor_kwargs={"chat_template": chat_template(prompt)},
    )
    modules = [language_model, LogitScore(true_token_id=yes, false_token_id=no)]
    return CrossEncoder(modules=modules, activation_fn=torch.nn.Identity(), device=best_device())


def chat_template(prompt: Any) -> str:
    """Our template in Jinja over the roles query and document.

    `join` and not `first`: the trainer's model card counts the tokens of texts that are neither.
    """

    template = prompt.template
    begin = prompt.tokenizer.bos_token or ""
    sides = [
        f'(messages | selectattr("role", "eq", "{role}") | map(attribute="content") | join)'
        for role in ("query", "document")
    ]
    before, between, after = (
        json.dumps(piece, ensure_ascii=False)
        for piece in (begin + template.instruction + template.left, template.right, template.question)
    )
    return f"{{{{ {before} + {sides[0]} + {between} + {sides[1]} + {after} }}}}"


def score_sentence_transformers(task: Task, *, batch_size: int = SCORE_BATCH) -> Repetition:
    """`CrossEncoder.predict`: bfloat16, no LoRA, as after merging; it sorts by length and keeps one row of logits."""
    need("sentence_transformers")
    model = cross_encoder(task)
    prompt = load_prompt(task.model)

    def repetition(count: int) -> Work:
        part = task.first(count)
        pairs = list(zip(cut_texts(prompt, part.left), cut_texts(prompt, part.right), strict=True))
        seconds, scores = timed(lambda: model.predict(pairs, batch_size=batch_size))
        return Work(seconds, count, real_tokens(prompt, part), 0.0, scores.tolist())

    return repetition


def score_generate(task: Task) -> Repetition:
    """transformers' `generate` of one new token, greedy, left padding, longest prompts first; no scores come of it."""
    prompt = load_prompt(task.model)
    tokenizer = prompt.tokenizer
    tokenizer.padding_side = "left"
    model = base_model(task).eval()

    def words(texts: Sequence[str]) -> list[str]:
        found = [""] * len(texts)
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        for start in range(0, len(order), SCORE_BATCH):
            rows = order[start : start + SCORE_BATCH]
            batch = tokenizer([texts[row] for row in rows], return_tensors="pt", padding=True)
            batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
            new = model.generate(**batch, max_new_tokens=1, do_sample=False, pad_token_id=prompt.padding_id)
            for row, word in zip(rows, tokenizer.batch_decode(new[:, -1:]), strict=True):
                found[row] = word
        return found

    def repetition(count: int) -> Work:
        part = task.first(count)
        texts = prompt_texts(prompt, part)
        seconds, _ = timed(lambda: words(texts))
        return Work(seconds, count, real_tokens(prompt, part), 0.0)

    return repetition
