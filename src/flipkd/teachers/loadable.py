"""The folder of a teacher as a model of sentence-transformers: `SentenceTransformer("teacher")` reads the files in `model/`."""

from __future__ import annotations

from pathlib import Path

from flipkd.files import read_json, write_json
from flipkd.teachers.ensemble import members_of
from flipkd.teachers.stored_teacher import MODEL

MODULES, CONFIG = "modules.json", "config_sentence_transformers.json"


def make_loadable(folder: Path) -> bool:
    """Write the two files that sentence-transformers reads first; return whether it can load the folder.

    They name the modules in the subfolder `model`, so no weights are copied. An ensemble has no such form.
    """
    model = folder / MODEL
    if members_of(model):
        return False
    modules = [module | {"path": (Path(MODEL) / module["path"]).as_posix()} for module in read_json(model / MODULES)]
    write_json(folder / CONFIG, read_json(model / CONFIG))
    write_json(folder / MODULES, modules)
    return True
