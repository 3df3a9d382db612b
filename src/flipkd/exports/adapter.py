"""Format `adapter`: LoRA alone for peft and vLLM, over a base model that the hub has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from flipkd.artefacts import library_errors
from flipkd.errors import ConfigError
from flipkd.exports.merged import part_limits, write_parts
from flipkd.exports.pair_tokenizer import normalisation_limits, write_pair_tokenizer
from flipkd.exports.record import ExportRecord
from flipkd.exports.source import Source
from flipkd.exports.transformers_scorer import TransformersScorer
from flipkd.files import read_json, write_json
from flipkd.models import SOURCES, model_path
from flipkd.student.adapter import SETTINGS
from flipkd.student.contract import ScoreContract
from flipkd.student.language_model import ADAPTER, quiet_peft

PACKAGED = "the packaged base model was made from 4-bit weights: over those of the hub the scores differ; --to merged keeps them"
PREFIX = "base_model.model."  # of peft


def refusal(contract: ScoreContract, config: Any) -> str | None:
    """Return the sentence for a base quantized to 4 bits."""
    if contract.load_in_4bit:
        return (
            "this matcher was trained over a base of 4-bit weights, which another program would not round alike; export "
            "with --to merged"
        )
    return None


def write(source: Source, folder: Path) -> list[str]:
    """Write adapter, pair tokenizer, readout, matcher.json and the teacher; return the limits.

    Raises ConfigError when the hub id of the base model is not known.
    """
    if source.base is None:
        name = Path(source.contract.base_model_name_or_path).name
        raise ConfigError(
            f"adapter: the hub id of the base model {name} is not known, and an adapter is of no use without it; give "
            "--base_model OWNER/NAME, or export with --to merged"
        )
    shutil.copyfile(source.folder / ADAPTER / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    settings = read_json(source.folder / ADAPTER / SETTINGS)
    write_json(folder / SETTINGS, settings | {"base_model_name_or_path": source.base})
    write_parts(source, folder)
    write_pair_tokenizer(source.prompt, folder)
    packaged = source.contract.base_model_name_or_path in SOURCES
    return [
        *([PACKAGED] if packaged else []),
        *part_limits(source.contract),
        *normalisation_limits(source.prompt, by_caller=False),
    ]


def load(folder: Path, record: ExportRecord, *, base_model: str | None) -> TransformersScorer:
    """Load the base with transformers and the adapter with peft; `base_model`: where the base is, by default its hub id."""
    base = model_path(base_model or record.contract.base_model_name_or_path)
    with library_errors(folder, "peft cannot load it"):
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=record.dtype, use_safetensors=True, trust_remote_code=False
        )
        with quiet_peft():
            model = PeftModel.from_pretrained(model, folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    places = [PREFIX + name for name in record.contract.readout_places]
    down = {name: model.get_submodule(name).lora_A["default"].weight.detach().float() for name in places}
    return TransformersScorer(model, tokenizer, record.contract, down=down, folder=folder)
