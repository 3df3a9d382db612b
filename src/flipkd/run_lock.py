"""Lock of a run folder: one process at a time writes there, always with the settings that the run started with."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flipkd.errors import ArtefactError, shorten
from flipkd.files import OUTGOING, read_json, resource_errors, restore_outgoing, write_json
from flipkd.partials import TEMPORARY, clear_stale

RUN = "run.json"
FEW_KEYS = 5  # settings that only one of two versions of a command has; more are those of another command
# Keys of run.json that describe the machine, and those of them that an option sets.
MACHINE = {f"environment.{name}" for name in ("threads", "device", "machine")}
OPTIONS = {"environment.processes": "--num_processes ", "environment.threads": "OMP_NUM_THREADS="}


@contextmanager
def locked_run(
    folder: str | Path,
    identity: Mapping[str, Any],
    *,
    mutable_keys: frozenset[str] = frozenset(),
    transient_files: frozenset[str] = frozenset(),
    remedy: str = "choose another --output_dir",
) -> Iterator[None]:
    """Lock `folder` for one run and write its settings to `run.json`; a run that resumes there must have the same.

    `mutable_keys` may differ on resume. `transient_files` alone do not count as a started run. `remedy`: what the error
    advises when settings differ. Raises ArtefactError when another process holds the lock or settings differ,
    ResourceError when the folder cannot be written. The lock ends with its process.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    with resource_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ArtefactError(
                f"{folder}: another run is writing here; wait until it ends, or choose another folder"
            ) from None
    try:
        clear(folder)
        _require_same_identity(folder, json.loads(json.dumps(identity)), mutable_keys, remedy)
        try:
            yield
        except BaseException:
            if {path.name for path in folder.iterdir()} <= {RUN, ".lock", *transient_files}:
                # Nothing was computed with these settings, so others may use the folder.
                (folder / RUN).unlink(missing_ok=True)
            raise
    finally:
        lock.release()


def clear(folder: Path) -> None:
    """Delete or restore temporary files of killed runs; the caller holds the lock, so no other run is writing them."""
    with resource_errors(folder):
        for path in folder.glob(f"{TEMPORARY}*/"):
            if path.name.startswith(OUTGOING):
                restore_outgoing(path, path.with_name(path.name.removeprefix(OUTGOING)))
            else:
                shutil.rmtree(path, ignore_errors=True)
        clear_stale(folder)  # files


def _require_same_identity(folder: Path, identity: dict[str, Any], mutable_keys: frozenset[str], remedy: str) -> None:
    if not (folder / RUN).exists():
        write_json(folder / RUN, identity)
        return
    recorded = read_json(folder / RUN)
    if not isinstance(recorded, dict):
        raise ArtefactError(f"{folder / RUN}: not the settings of a run; choose another --output_dir")
    before, now = _flat(recorded), _flat(identity)
    keys = sorted(key for key in before.keys() | now.keys() if key.split(".")[-1] not in mutable_keys)
    one_sided = [key for key in keys if (key in before) is not (key in now)]
    if len(one_sided) > max(len(keys) / 2, FEW_KEYS):
        raise ArtefactError(f"{folder}: holds a run of another command (see {RUN} in it); {remedy}")
    changes = [_change(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]
    if changes:
        again = "".join(
            f" ({option}{before.get(key)})" for key, option in OPTIONS.items() if before.get(key) != now.get(key)
        )
        elsewhere = any(before.get(key) != now.get(key) for key in MACHINE & {*keys})
        raise ArtefactError(
            f"{folder}: holds a run that started with other settings ({'; '.join(changes)}); run with the same settings"
            f"{again} to resume it, or {remedy}{'; to resume it here all the same: --resume_elsewhere' if elsewhere else ''}"
        )


def _change(key: str, before: Any, now: Any) -> str:
    """Describe a change of a value for the error message; the sha256 of a file or model would say nothing."""
    key = key.removeprefix("config.")  # of the folder's run.json; what is left is the name of the setting
    hashes = [_is_hash(value) for value in (before, now)]
    if all(hashes):
        return f"{key} has other content"
    old, new = ("given" if known else shorten(value) for value, known in zip((before, now), hashes, strict=True))
    return f"{key} was {old}, now {new}"


def _is_hash(value: Any) -> bool:
    """True for a sha256, or a list of them."""
    values = value if isinstance(value, list) and value else [value]
    return all(re.fullmatch("[0-9a-f]{64}", str(part)) for part in values)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
