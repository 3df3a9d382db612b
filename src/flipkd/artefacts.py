"""Checks of a model folder before a library reads it, and errors that name the file while it does.

No file of a model may choose code to run: `model_rules.py` has the allowed values.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from flipkd.errors import (
    ArtefactError,
    FlipkdError,
    RefusedError,
    ResourceError,
    is_disk_full,
    is_failure,
    is_out_of_memory,
    reason_of,
    shorten,
)
from flipkd.files import read_json
from flipkd.model_rules import MODULE, RULES, RULES_OF_FILES, Rule, known_model_type

MATCHER, ADAPTER = "matcher.json", "adapter_config.json"
PICKLED, WEIGHTS, INDEX = "pytorch_model.bin", "model.safetensors", "model.safetensors.index.json"
NOT_SETTINGS = ("tokenizer.json", "vocab.json")  # up to 33 MB; the tokenizers library reads them and runs no code
COUNT = re.compile(r"(num|n)_\w*(layers?|experts)")  # a library builds this many modules in a loop
MAX_COUNT = 10_000
_LOAD_LOCK = threading.RLock()


class Checked(NamedTuple):
    """Result of a check: the revision of a hub model, and the subfolders that are transformers models ("": the folder)."""

    revision: str | None
    parts: list[str]


def check_model_folder(folder: Path) -> list[str]:
    """Check a model folder and return its subfolders that are transformers models, "" for the folder itself.

    Raises RefusedError naming file and key where a file would choose code or weights are pickled; ArtefactError for an
    adapter or a matcher, which are not complete models, and for a file that is not JSON.
    """
    run = (folder / "matcher" / MATCHER).exists() and not (folder / "config.json").exists()
    if run or (folder / MATCHER).exists():
        raise ArtefactError(f"{folder}: a matcher of flipkd, not a base model; give the base model of the matcher")
    transformers, queue = [] if (folder / "modules.json").exists() else [folder], [folder]
    seen: set[Path] = set()
    while queue:
        here = queue.pop()
        if here in seen:
            continue
        seen.add(here)
        for part, is_transformer in _check_settings(here):
            queue.append(here / part)
            transformers += [here / part] * is_transformer
    for here in seen:
        _refuse_pickles(here, is_transformer=here in transformers)
    # Both a folder and the folder that its modules.json names may name the same part.
    return list(dict.fromkeys("" if part == folder else part.relative_to(folder).as_posix() for part in transformers))


def check_export_folder(folder: Path, *, unread: Collection[str]) -> None:
    """Check the files of an export and of all its subfolders; `unread`: files of the folder that no library reads.

    Raises RefusedError and ArtefactError as `check_model_folder`.
    """
    for here in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        for _ in _check_settings(here, unread=unread if here == folder else ()):
            pass  # each subfolder is checked anyway
        _refuse_pickles(here, is_transformer=True)


def _check_settings(folder: Path, *, unread: Collection[str] = ()) -> Iterator[tuple[str, bool]]:
    """Check the JSON files of one folder, and yield what `_module_folders` does of each."""
    if (folder / ADAPTER).exists() and ADAPTER not in unread:
        raise ArtefactError(
            f"{folder}: an adapter, not a complete model; merge it into its base model and save the result as one model"
        )
    for file in sorted(folder.glob("*.json")):
        if file.name not in NOT_SETTINGS and file.name not in unread:
            values = read_json(file)
            check_values(file, values)
            yield from _module_folders(file, values)


def _module_folders(file: Path, values: Any) -> Iterator[tuple[str, bool]]:
    """Yield (folder, is it a transformers model) for each module that a file of a SentenceTransformer names."""
    if file.name == "modules.json" and isinstance(values, list):
        found = [(item.get("path"), item.get("type")) for item in values if isinstance(item, dict)]
    elif isinstance(values, dict) and isinstance(values.get("types"), dict):  # of a Router
        found = list(values["types"].items())
        for _, kind in found:
            _require_rule(file, "types", kind, MODULE)
    else:
        found = []
    for path, kind in found:
        if isinstance(path, str):
            below = PureWindowsPath(path)  # which splits at both / and \\
            if below.anchor or ".." in below.parts:
                raise RefusedError(f"{file}: path is {shorten(path)}; allowed: a folder inside the model folder")
            yield path, str(kind).endswith(".Transformer")


def _refuse_pickles(folder: Path, *, is_transformer: bool) -> None:
    """Raise RefusedError for pickled weights that a library would read: those of a module without model.safetensors.

    A transformers model may have shards instead.
    """
    has_safetensors = (folder / WEIGHTS).exists() or (is_transformer and (folder / INDEX).exists())
    if (folder / PICKLED).exists() and not has_safetensors:
        raise RefusedError(f"{folder / PICKLED}: pickled weights are not read; save the model again as safetensors")


def check_values(file: Path, values: Any) -> None:
    """Check the values of a JSON file, at any depth, against RULES. Raises RefusedError naming the key and what is allowed.

    Raises ArtefactError for more layers or experts than any model has, since building them would not end.
    """
    own = [rules for pattern, rules in RULES_OF_FILES.items() if re.fullmatch(pattern, file.name)]
    rules = RULES | (own[0] if own else {})
    queue = [values]
    while queue:
        value = queue.pop()
        if isinstance(value, dict):
            for key, part in value.items():
                if key in rules:
                    _require_rule(file, key, part, rules[key])
                if isinstance(part, int) and COUNT.fullmatch(key) and not 0 <= part <= MAX_COUNT:
                    raise ArtefactError(f"{file}: {key} is {part}; it must be from 0 to {MAX_COUNT}")
            if value.get("auto_map") and "model_type" in value:
                _require_rule(file, "auto_map", value["auto_map"], known_model_type(value["model_type"]))
        queue += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _require_rule(file: Path, key: str, value: Any, rule: Rule) -> None:
    if not rule[0](value):
        raise RefusedError(f"{file}: {key} is {shorten(value)}; allowed: {rule[1]}. flipkd runs no code from a model")


def checked_model(name: str) -> Checked:
    """Check a model folder, or the JSON files of a hub model; the caller must then read the revision that is returned.

    Raises RefusedError and ArtefactError as `check_model_folder`, and ArtefactError for a model that cannot be downloaded.
    """
    if Path(name).is_dir():
        return Checked(None, check_model_folder(Path(name)))
    from huggingface_hub import constants, errors, snapshot_download

    what = "no such folder, no packaged model (docs/models.md), and no model that can be downloaded"
    with library_errors(name, what):
        try:
            folder = Path(snapshot_download(name, allow_patterns=["*.json"]))
        except errors.LocalEntryNotFoundError:
            if not constants.HF_HUB_OFFLINE:
                raise
            raise ArtefactError(
                f"{name}: {what}, because HF_HUB_OFFLINE is set; correct the name, or unset it"
            ) from None
    return Checked(folder.name, check_model_folder(folder))


@contextmanager
def load_lock() -> Iterator[None]:
    """Context manager and decorator: only one thread of the process loads a model.

    While it loads one, transformers replaces torch's default dtype and `PreTrainedModel.tie_weights`, and puts back what it
    found. If two loads overlap, the second may put back what the first had replaced: then no later model has tied weights.
    """
    with _LOAD_LOCK:
        yield


@contextmanager
def library_errors(name: str | Path, what: str) -> Iterator[None]:
    """Context manager around a library that reads the files of `name`: any exception or panic becomes "NAME: WHAT (reason)".

    Raises ArtefactError, RefusedError for a model that needs its own code, ResourceError when memory or disk is full.
    """
    try:
        yield
    except FlipkdError:  # its message is more exact
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise _as_flipkd_error(error, name, what) from error


def _as_flipkd_error(error: BaseException, name: str | Path, what: str) -> FlipkdError:
    reason = reason_of(error)
    if is_out_of_memory(error):
        return ResourceError(f"{name}: does not fit into memory; set load_in_4bit on a GPU, or use a smaller model")
    if is_disk_full(error):
        return ResourceError(f"{name}: the disk is full; free some space, then run the same command")
    if "trust_remote_code" in str(error):
        return RefusedError(f"{name}: needs its own code, which flipkd does not run ({reason})")
    return ArtefactError(f"{name}: {what} ({reason})")
