"""A folder belongs to one run: one process at a time writes in it, always under the settings it was begun with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flipkd.errors import ArtefactError, shorten
from flipkd.files import OUTGOING, put_back, read_json, resource_errors, write_json
from flipkd.partials import TEMPORARY, clear_stale

RUN = "run.json"
# What a run says of the machine, and how a user sets that.
OPTIONS = {"environment.processes": "--num_processes ", "environment.threads": "OMP_NUM_THREADS="}


@contextmanager
def locked_run(
    folder: str | Path,
    identity: Mapping[str, Any],
    *,
    mutable_keys: frozenset[str] = frozenset(),
    transient_files: frozenset[str] = frozenset(),
    remedy: str = "choose another output_dir",
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
            raise ArtefactError(f"{folder}: another run is writing here; wait, or choose another folder") from None
    try:
        clear(folder)
        _same_identity(folder, json.loads(json.dumps(identity)), mutable_keys, remedy)
        try:
            yield
        except BaseException:
            if {path.name for path in folder.iterdir()} <= {RUN, ".lock", *transient_files}:
                (folder / RUN).unlink(missing_ok=True)  # nothing was made under these settings, so they bind nobody
            raise
    finally:
        lock.release()


def clear(folder: Path) -> None:
    """Put right what killed runs left: only the lock's holder makes folders here, so none of these is being filled."""
    with resource_errors(folder):
        for left in folder.glob(f"{TEMPORARY}*/"):
            if left.name.startswith(OUTGOING):
                put_back(left, left.with_name(left.name.removeprefix(OUTGOING)))
            else:
                shutil.rmtree(left, ignore_errors=True)
        clear_stale(folder)  # files


def _same_identity(folder: Path, identity: dict[str, Any], mutable_keys: frozenset[str], remedy: str) -> None:
    if not (folder / RUN).exists():
        write_json(folder / RUN, identity)
        return
    recorded = read_json(folder / RUN)
    if not isinstance(recorded, dict):
        raise ArtefactError(f"{folder / RUN}: not the settings of a run")
    before, now = _flat(recorded), _flat(identity)
    keys = sorted(key for key in before.keys() | now.keys() if key.split(".")[-1] not in mutable_keys)
    changes = [
        f"{key} was {shorten(before.get(key))}, now {shorten(now.get(key))}"
        for key in keys
        if before.get(key) != now.get(key)
    ]
    if changes:
        again = "".join(
            f" ({option}{before.get(key)})" for key, option in OPTIONS.items() if before.get(key) != now.get(key)
        )
        raise ArtefactError(
            f"{folder}: holds a run that was begun differently ({'; '.join(changes)}); run with the same settings"
            f"{again} to go on, or {remedy}"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
