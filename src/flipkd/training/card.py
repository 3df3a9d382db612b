"""The model card of a matcher folder, in the format of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flipkd import __version__
from flipkd.config import TrainConfig
from flipkd.student.contract import ScoreContract

BODY = """
# {name}

A text matcher: given two texts it answers whether they match, as a probability and a decision.
Trained with flipkd {version}: a small encoder taught the language model
`{base}` by flipped knowledge distillation (Li et al., ACL 2025, arXiv 2507.05617).

## Use

```python
from flipkd import Matcher

matcher = Matcher.from_pretrained("path/to/this/folder")
matcher.predict_proba([("I lost my card", "My card is missing")])
matcher.decide([("I lost my card", "My card is missing")])
```

On the command line: `flipkd match --matcher path/to/this/folder pairs.csv`.

{decisions}

## How it scores

score = {score}. answer = logit({yes!r}) - logit({no!r}) at the position
after the prompt; cosine = that of the two texts' vectors, read from LoRA's A.{kept}
Reading: {reading}; each text is cut to {length} tokens. Everything a score depends on stands in `matcher.json`; the base
model must have the hash that is written there.

## Training

Objectives: {objectives}. {epochs:g} epochs, {batch} pairs per step, learning rate {rate:g}, seed {seed}, LoRA rank {rank}
(rank {wide} where it is read: {places}){start}.
"""

DECISIONS = """<!-- decisions -->
## How it decides

A score of at least {threshold:.4f} is a match{review}. It is that of {orders}.{direction}

Measured on the {n} validation pairs, which chose this and the calibration, so that the figures flatter; measure on pairs
of your own.

| metric | value |
| --- | --- |
{rows}
<!-- /decisions -->"""
DIRECTION = " The order means something here: (a, b) may match and (b, a) not."
MARKED = re.compile("<!-- decisions -->.*<!-- /decisions -->", re.DOTALL)


KEPT = """
teacher = {what} of the small encoder in `teacher/`: made from {name} (licence: {licence})."""
KEPT_SOURCE = re.compile(r"in `teacher/`: made from (.+) \(licence: (.+)\)\.")
SCORES = {"bi_encoder": "the cosine", "cross_encoder": "the logit"}


def replace_decisions(card: str, contract: ScoreContract, *, metrics: Mapping[str, float]) -> str:
    """Return the card with its section of decisions replaced, or appended where it has none."""
    section = _decisions(contract, metrics=metrics)
    return MARKED.sub(lambda _: section, card) if MARKED.search(card) else f"{card}\n{section}\n"


def _decisions(contract: ScoreContract, *, metrics: Mapping[str, float]) -> str:
    below = contract.review_threshold
    return DECISIONS.format(
        n=int(metrics["n"]),
        rows="\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items()),
        threshold=contract.threshold,
        orders="both orders of the texts, averaged" if contract.symmetric else "the texts in the order given",
        direction=DIRECTION if contract.directed else "",
        review="" if below is None else f", one from {below:.4f} on is for a person to review",
    )


def model_card(
    config: TrainConfig,
    contract: ScoreContract,
    *,
    metrics: Mapping[str, float],
    teacher: Mapping[str, str | None] | None = None,
) -> str:
    """Return README.md with the hub's metadata block; every figure is from this run, and equal runs have equal cards.

    `teacher`: name and licence of what the kept teacher was made from.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="flipkd",
        base_model=config.model_name_or_path,
        base_model_relation="adapter",
        pipeline_tag="text-ranking",
        tags=["text-matching", "distillation", "lora", *(f"loss:{name}" for name in config.objectives)],
    )
    body = BODY.format(
        name="Matcher",
        version=__version__,
        base=config.model_name_or_path,
        decisions=_decisions(contract, metrics=metrics),
        yes=contract.template["yes"],
        no=contract.template["no"],
        score=" + ".join(f"{weight:.4g} {kind}" for kind, weight in contract.score.items()),
        kept=_kept(contract, teacher or {}),
        reading=contract.reading,
        length=contract.max_text_length,
        objectives=", ".join(f"{name} ({weight})" for name, weight in config.objectives.items()),
        epochs=config.num_train_epochs,
        batch=config.per_device_train_batch_size,
        rate=config.learning_rate,
        seed=config.seed,
        rank=config.lora_r,
        wide=config.readout_r,
        start=f", which started from the adapters of `{config.init_from}`" if config.init_from else "",
        places=", ".join(contract.readout_places),
    )
    return f"---\n{data.to_yaml()}\n---\n{body}"


def _kept(contract: ScoreContract, source: Mapping[str, str | None]) -> str:
    if contract.teacher is None:
        return ""
    name, licence = source.get("name") or "an unnamed model", source.get("licence") or "not known, ask its makers"
    return KEPT.format(what=SCORES[contract.teacher.kind], name=name, licence=licence)


def kept_source(card: str) -> dict[str, str | None]:
    """Return name and licence of what the kept teacher was made from, as `model_card` wrote them; empty if it did not."""
    found = KEPT_SOURCE.search(card)
    return {} if found is None else {"name": found[1], "licence": found[2]}
