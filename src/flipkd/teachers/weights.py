"""Are all weights of a teacher there? transformers would put random numbers in the place of those that are not."""

from __future__ import annotations

from typing import Any

from flipkd.artefacts import Checked
from flipkd.errors import ArtefactError


def require_weights(model: Any, path: str, checked: Checked, *, name: str, new_head: bool) -> None:
    """Raise ArtefactError naming weights of a sentence-transformers model that its files lack.

    They are compared on torch's meta device: no weight is read again. A pooler that nothing reads may be missing, and with
    `new_head` all that stands behind the encoder.
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
                "it has no trained scoring head: fine-tune it as a cross-encoder first"
                if missing == head
                else ("random numbers would stand in their place: give the whole model")
            )
            raise ArtefactError(f"{name}: {len(missing)} weights are missing, for example {missing[0]}; {why}")


def _has_head(network: Any) -> bool:
    """Whether the model is an encoder and something behind it, such as a scoring head."""
    return hasattr(network, network.base_model_prefix)
