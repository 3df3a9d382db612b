"""The files from which sentence-transformers loads a model of several modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flipkd.exports.record import installed_libraries
from flipkd.files import write_json


def write_library_files(
    folder: Path,
    *,
    modules: Mapping[str, Any],
    paths: Mapping[str, str],
    transformer: Mapping[str, Any],
    model_type: str,
    settings: Mapping[str, Any],
) -> None:
    """Save the modules after the Transformer, and write modules.json and both configurations.

    modules: class -> module; paths: class -> subfolder of every module in order, the Transformer's is the folder itself;
    transformer: configuration of the Transformer; settings: of the model, beside its type and versions.
    """
    for kind, module in modules.items():
        (folder / paths[kind]).mkdir()
        module.save(str(folder / paths[kind]))
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (kind, path) in enumerate(paths.items())
    ]
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
