"""Create a new student over a base model, or load a trained one from its folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from flipkd.artefacts import library_errors, load_lock
from flipkd.config import StudentConfig
from flipkd.device import best_device
from flipkd.errors import ArtefactError
from flipkd.files import check_manifest
from flipkd.student.adapter import finite_tensors, load_adapter
from flipkd.student.answer_path import require_path_to_answer
from flipkd.student.attention import AUTO
from flipkd.student.base_config import relevant_config, require_config
from flipkd.student.checks import check_student, find_shared_inputs
from flipkd.student.contract import CONTRACT, GlossaryTerms, ScoreContract, read_contract, require_contract
from flipkd.student.glossary import Glossary
from flipkd.student.language_model import (
    DTYPES,
    add_lora,
    compile_layers,
    load_language_model,
    load_saved_tokenizer,
    load_tokenizer,
    memory_errors,
    weights_hash,
)
from flipkd.student.model import READOUT, TOKENIZER, Student
from flipkd.student.prompt import Prompt, template_from
from flipkd.student.quantization import quantize_4bit, simulate_4bit
from flipkd.student.readout import Readout

NO_TOKENIZER = "no tokenizer that can be used"


@load_lock()
def new_student(
    config: StudentConfig, *, glossary: GlossaryTerms | None = None, seed: int = 0, device: str = "cpu"
) -> tuple[Student, ScoreContract]:
    """Create a student on `device` (B = 0, so its answers are those of the base model) and its contract without calibration.

    `glossary`: definitions to add to its texts; `seed`: of A. Raises ConfigError for an unsupported model and for layers or
    modules that it does not have; also for a readout module that cannot change the answer, unless `allow_readout_off_path`.
    """
    name = config.model_name_or_path
    model, base_hash = _base(
        name,
        dtype=config.dtype,
        attn_implementation=config.attn_implementation,
        four_bits=config.load_in_4bit,
        device=device,
    )
    base_config = relevant_config(model.config)
    with library_errors(name, NO_TOKENIZER):
        prompt = _make_prompt(config, load_tokenizer(name), glossary=glossary)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft_model, module_names = add_lora(model, config)
    with memory_errors(name, dtype=config.dtype):
        student = Student(peft_model, prompt, Readout(peft_model.get_base_model(), module_names)).to(device)
    with library_errors(name, "the model does not run"):
        check_student(student.eval())  # on its device: some attention implementations run only on a GPU
    if not config.allow_readout_off_path:
        require_path_to_answer(student)
    if config.torch_compile:
        compile_layers(peft_model)
        student.compiled = True
        student.adapters.layers.clear()  # the compiler fuses peft's own layers
    contract = ScoreContract(
        # An absolute path, since the matcher will be loaded from other working directories.
        base_model_name_or_path=str(Path(name).resolve()) if Path(name).is_dir() else name,
        base_model_hash=base_hash,
        base_config=base_config,
        dtype=config.dtype,
        load_in_4bit=config.load_in_4bit,
        template=asdict(prompt.template),
        label_ids=prompt.label_ids,
        reading=config.reading,
        max_text_length=config.max_text_length,
        text_normalisation=1,
        glossary=glossary,
        readout_places=module_names,
    )
    return student, contract


@load_lock()
def load_student(folder: Path, *, base_model: str | None = None, merge: bool = False) -> tuple[Student, ScoreContract]:
    """Load a trained student from `folder`; `base_model` replaces the base model path in its contract.

    With `merge` LoRA is merged into the weights: scoring is faster, and the embeddings use the stored copy of A. 4-bit
    weights are dequantized for it and then take as much memory as others. Raises ArtefactError when files are missing,
    damaged or of another base model.
    """
    require_contract(folder)
    check_manifest(folder)
    contract = read_contract(folder)
    name = base_model or contract.base_model_name_or_path
    try:
        model, found = _base(
            name,
            dtype=contract.dtype,
            attn_implementation=AUTO,
            four_bits=contract.load_in_4bit,
            merge=merge,
            device=best_device(),
        )
    except ArtefactError as error:
        raise ArtefactError(f"{error}; if the base model has moved, give its new path (--base_model)") from error
    if found != contract.base_model_hash:
        raise ArtefactError(
            f"{folder}: was trained on a base model with hash {contract.base_model_hash}, but {name} has hash {found}; "
            "give the base model of training"
        )
    if contract.base_config is not None:
        require_config(model.config, contract.base_config, file=folder / CONTRACT, name=name)
    tokenizer = load_saved_tokenizer(folder / TOKENIZER)
    normalise = contract.text_normalisation is not None
    with library_errors(folder / TOKENIZER, NO_TOKENIZER):
        prompt = _make_prompt(contract, tokenizer, glossary=contract.glossary, normalise=normalise)
    if prompt.label_ids != tuple(contract.label_ids):
        raise ArtefactError(
            f"{folder}: the label words have ids {prompt.label_ids} in its tokenizer, but {contract.label_ids} in {CONTRACT}; "
            "restore the files of training"
        )
    with library_errors(folder, "does not fit its base model"):
        loaded = load_adapter(model, folder).eval().requires_grad_(False)
        if merge:
            loaded = loaded.merge_and_unload()
            readout = Readout(loaded, contract.readout_places, weights=finite_tensors(folder / READOUT))
        else:
            readout = Readout(loaded.get_base_model(), contract.readout_places)
        student = Student(loaded, prompt, readout)
        find_shared_inputs(student)
    return student, contract


def _make_prompt(
    source: StudentConfig | ScoreContract, tokenizer: Any, *, glossary: GlossaryTerms | None, normalise: bool = True
) -> Prompt:
    return Prompt(
        tokenizer,
        template_from(source.template),
        reading=source.reading,
        max_text_length=source.max_text_length,
        normalise=normalise,
        glossary=None if glossary is None else Glossary(**glossary.model_dump()),
    )


def _base(
    name: str, *, dtype: str, attn_implementation: str, four_bits: bool, device: str, merge: bool = False
) -> tuple[Any, str]:
    """Load the base model; return it and the hash of its original weights. `merge` dequantizes 4-bit weights."""
    model = load_language_model(name, dtype=dtype, attn_implementation=attn_implementation)
    found = weights_hash(model, dtype=dtype)
    if four_bits:
        with memory_errors(name, dtype=dtype):
            if merge:
                simulate_4bit(model, device=device)
            else:
                quantize_4bit(model, dtype=DTYPES[dtype], device=device)
    return model, found
