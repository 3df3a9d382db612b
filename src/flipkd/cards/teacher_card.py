"""The model card of a fine-tuned teacher, in the format of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from huggingface_hub import ModelCardData

from flipkd import hub
from flipkd.cards.matcher_card import base_link
from flipkd.cards.sections import figure
from flipkd.config import TeachConfig
from flipkd.models.hub_names import hub_id, licence_of, public_name

BODY = """
# Text matching model, fine-tuned from {base}

{what} flipkd made it, as the teacher of a
language model ([arXiv 2507.05617](https://arxiv.org/abs/2507.05617)); it also matches texts by itself.

## Use

{use}

## Training

Fine-tuned from {base_link} on {n:.0f} labelled pairs: {loss}; epochs: {epochs:g}; {batch} pairs per step,
learning rate {rate:g}, seed {seed}, up to {length} tokens.{prompt}

## Figures

At the threshold with the best F1 on the same pairs, which flatters: it shows whether the model knows the subject, not
how good it will be on new pairs.

| metric | {splits} |
| --- |{ruler}
{rows}

## Limits

- It was trained on one kind of pairs; measure it on pairs of your own before you use it on others.
- It has what its base model and its training pairs have of errors and bias, and their terms go with it.

## Versions

Trained with flipkd {flipkd}, sentence-transformers {library}, torch {torch}.
"""
WHAT = {
    "bi_encoder": "It maps a text to a vector; the cosine of two vectors says how well the texts match.",
    "cross_encoder": "It reads two texts and gives one score, a logit: the higher, the better they match.",
}
USE = {
    "bi_encoder": """```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
vectors = model.encode(["I lost my card", "My card is missing"])
print(model.similarity(vectors, vectors))
```""",
    "cross_encoder": """```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("path/to/this/folder")
print(model.predict([("I lost my card", "My card is missing")]))
```""",
}
USE_MEMBERS = """It consists of {members} models, whose mean score counts. flipkd loads them together:

```python
from flipkd.teachers.teacher import load_teacher

teacher = load_teacher("path/to/this/folder/model", kind="{kind}")
```"""
TAGS = {"bi_encoder": ("sentence-similarity", "bi-encoder"), "cross_encoder": ("text-ranking", "cross-encoder")}
LOSSES = {"bi_encoder": "loss {loss}", "cross_encoder": "binary cross-entropy"}


def teacher_card(config: TeachConfig, summary: Mapping[str, Any]) -> str:
    """Return README.md of the folder of a fine-tuned teacher; `summary` is the content of its teacher.json."""
    kind, base = config.teacher_type, config.teacher_name_or_path
    pipeline, tag = TAGS[kind]
    found = hub_id(base)
    train = config.train_file.partition(":")[0]
    data = ModelCardData(
        license=licence_of(base),
        library_name="sentence-transformers",
        base_model=found,
        base_model_relation="finetune" if found else None,
        datasets=[train] if hub.is_dataset(config.train_file) else None,
        pipeline_tag=pipeline,
        tags=["sentence-transformers", tag, "text-matching"],
    )
    return f"---\n{data.to_yaml()}\n---\n{_body(config, summary)}"


def _body(config: TeachConfig, summary: Mapping[str, Any]) -> str:
    kind, base = config.teacher_type, config.teacher_name_or_path
    splits = [name for name in ("train", "out_of_fold", "validation") if name in summary]
    members = USE_MEMBERS.format(members=config.members, kind=kind)
    return BODY.format(
        base=public_name(base),
        base_link=base_link(base),
        what=WHAT[kind],
        use=USE[kind] if config.members == 1 else members,
        n=summary["train"]["n"],
        loss=LOSSES[kind].format(loss=config.loss),
        epochs=config.num_train_epochs,
        batch=config.per_device_train_batch_size,
        rate=config.learning_rate,
        seed=config.seed,
        length=config.max_length,
        prompt=f" Each text begins with the prompt {prompt!r}."
        if (prompt := summary["teacher"].get("prompt"))
        else "",
        splits=" | ".join(splits),
        ruler=" --- |" * len(splits),
        rows="\n".join(
            f"| {metric} | " + " | ".join(figure(metric, summary[split][metric]) for split in splits) + " |"
            for metric in summary["train"]
        ),
        flipkd=version("flipkd"),
        library=version("sentence-transformers"),
        torch=version("torch"),
    )
