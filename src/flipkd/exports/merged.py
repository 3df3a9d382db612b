"""Format `merged`: a model folder of transformers with LoRA merged; readout, matcher.json and teacher are beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from flipkd.artefacts import library_errors
from flipkd.exports.pair_tokenizer import caller_normalises, normalisation_limits, write_pair_tokenizer
from flipkd.exports.record import ExportRecord
from flipkd.exports.source import Source, public_contract
from flipkd.exports.transformers_scorer import TEACHER, TransformersScorer
from flipkd.files import copy_listed
from flipkd.student.contract import ScoreContract
from flipkd.student.model import READOUT


def refusal(contract: ScoreContract, config: Any) -> str | None:
    """Return None: this folder holds all parts of a matcher."""
    return None


def write(source: Source, folder: Path) -> list[str]:
    """Write model, tokenizer, readout, matcher.json and the teacher; return the limits."""
    write_pair_tokenizer(source.prompt, folder)
    write_parts(source, folder)
    source.merged_model().save_pretrained(folder)
    by_caller = caller_normalises(source.prompt, folder)
    return [*part_limits(source.contract), *normalisation_limits(source.prompt, by_caller=by_caller)]


def write_parts(source: Source, folder: Path) -> None:
    """Write the parts of a score that are not in a model of transformers: readout, contract, teacher."""
    shutil.copyfile(source.folder / READOUT, folder / READOUT)
    public_contract(source.contract, source.base).save(folder)
    if source.contract.teacher is not None:
        copy_listed(source.folder, folder, inside=f"{TEACHER}/")  # another file may be a link to a private one


def part_limits(contract: ScoreContract) -> list[str]:
    """Return sentences about the parts that a caller of transformers computes alone."""
    found = []
    if contract.score != {"answer": 1.0}:
        names = " and ".join(contract.score)
        found.append(f"the score is made of {names}: the model gives the answer only, see docs/export.md for the rest")
    if contract.reading == "blocked":
        found.append("blocked reading needs its own mask and positions, which the caller gives, see docs/export.md")
    if contract.symmetric:
        found.append("the score is the mean over both orders of a pair: the caller scores both")
    return found


def load(folder: Path, record: ExportRecord, *, base_model: str | None) -> TransformersScorer:
    """Load model and tokenizer with transformers."""
    with library_errors(folder, "transformers cannot load it"):
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        down = load_file(folder / READOUT)
    down = {name: down[name] for name in record.contract.readout_places}
    return TransformersScorer(model, tokenizer, record.contract, down=down, folder=folder)
