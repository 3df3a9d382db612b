"""Files that an installed package carries: found without importing or running the package, checked by their sha256."""

from __future__ import annotations

import importlib.util
from importlib.metadata import packages_distributions, version
from pathlib import Path

from flipkd import files
from flipkd.errors import ArtefactError, ConfigError

INSTALL = 'pip install "flipkd[demo]"'


def package_folder(package: str) -> Path:
    """The folder of an installed top-level package. Raises ConfigError with the install line when it is not there."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the package {package} is not installed: {INSTALL}")
    return Path(spec.submodule_search_locations[0])


def package_file(package: str, name: str) -> Path:
    """A file inside an installed package. Raises ConfigError without the package, ArtefactError without the file."""
    file = package_folder(package) / name
    if not file.is_file():
        raise ArtefactError(f"{file}: missing although {package} is installed; {_repair(file)}")
    return file


def check_sha256(file: Path, expected: str) -> None:
    """Raise ArtefactError unless `file` has exactly the bytes that flipkd was written for."""
    found = files.sha256(file)
    if found != expected:
        raise ArtefactError(f"{file}: sha256 is {found}, expected {expected}; {_repair(file)}")


def _repair(file: Path) -> str:
    """The command that puts back the package which a file is part of, and nothing else."""
    known = packages_distributions()
    names = [known[folder.name][0] for folder in file.parents if folder.name in known]
    return f"pip install --force-reinstall --no-deps {names[0]}=={version(names[0])}" if names else INSTALL
