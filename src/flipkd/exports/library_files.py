"""The files from which sentence-transformers loads a model of several modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flipkd.exports.record import installed_libraries
from flipkd.files import write_json

TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"


def write_library_files(
    folder: Path,
    *,
    modules: Sequence[Any],
    transformer: Mapping[str, Any],
    model_type: str,
    settings: Mapping[str, Any],
    transformer_class: str = TRANSFORMER,
) -> None:
    """Save the modules after the Transformer, each in a subfolder, and write modules.json and both configurations.

    transformer: configuration of the Transformer, whose files are in the folder itself; settings: of the model, beside its
    type and versions.
    """
    entries = [{"idx": 0, "name": "0", "path": "", "type": transformer_class}]
    for number, module in enumerate(modules, 1):
        kind = type(module)
        path = f"{number}_{kind.__name__}"
        (folder / path).mkdir()
        module.save(str(folder / path))
        entries.append(
            {"idx": number, "name": str(number), "path": path, "type": f"{kind.__module__}.{kind.__name__}"}
        )
    write_json(folder / "modules.json", entries)
    write_json(folder / "sentence_bert_config.json", transformer)
    versions = installed_libraries()
    used = {
        "sentence_transformers": versions["sentence-transformers"],
        "transformers": versions["transformers"],
        "pytorch": versions["torch"],
    }
    about = {"model_type": model_type, "__version__": used, **settings}
    write_json(folder / "config_sentence_transformers.json", about)
