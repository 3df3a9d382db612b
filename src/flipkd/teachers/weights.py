"""Check that the files of a teacher contain all weights; transformers would initialise missing ones randomly."""

from __future__ import annotations

from typing import Any

from flipkd.artefacts import Checked
from flipkd.errors import ArtefactError


def require_weights(model: Any, path: str, checked: Checked, *, name: str, new_head: bool) -> None:
    """Raise ArtefactError for weights of a sentence-transformers model that are missing in its files.

    The check uses torch's meta device, so no weight is read again. An unused pooler may be missing, and with `new_head`
    every module after the encoder.
    """
    from sentence_transformers.base.modules import Transformer

    modules: list[Any] = [module for module in model.modules() if isinstance(module, Transformer)]
    for module, part in zip(modules, checked.parts, strict=True):
        network = module.model
        _, found = type(network).from_pretrained(
            path,
            config=network.config,
            subfolder=part,
            revision=checked.revision,
            output_loading_info=True,
            device_map="meta",
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=new_head,
        )
        missing = sorted(found["missing_keys"]) + sorted(str(key[0]) for key in found["mismatched_keys"])
        inside = [key for key in missing if key.startswith(f"{network.base_model_prefix}.")]
        head = [key for key in missing if key not in inside] if _has_head(network) else []
        if new_head:
            missing = [key for key in inside if ".pooler." not in key]
        elif module.module_output_name == "token_embeddings":
            missing = [key for key in missing if not key.startswith("pooler.")]
        if missing:
            why = (
                "the model has no trained scoring head: fine-tune it as a cross-encoder first"
                if missing == head
                else ("they would be random numbers: use a complete model")
            )
            raise ArtefactError(f"{name}: {len(missing)} weights are missing, for example {missing[0]}; {why}")


def _has_head(network: Any) -> bool:
    """Whether the model has modules after the encoder, such as a scoring head."""
    return hasattr(network, network.base_model_prefix)
