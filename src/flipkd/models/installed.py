"""Data files of installed packages: located without importing the package, verified by sha256."""

from __future__ import annotations

import importlib.util
from importlib.metadata import packages_distributions, version
from pathlib import Path

from flipkd import files
from flipkd.errors import ArtefactError, ConfigError

INSTALL = 'pip install "flipkd[demo]"'


def package_folder(package: str) -> Path:
    """Return the folder of an installed top-level package. Raises ConfigError with the install command if it is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the package {package} is not installed: {INSTALL}")
    return Path(spec.submodule_search_locations[0])


def package_file(package: str, name: str) -> Path:
    """Return the path of a file in an installed package. Raises ConfigError (no package), ArtefactError (no file)."""
    file = package_folder(package) / name
    if not file.is_file():
        raise ArtefactError(f"{file}: missing although {package} is installed; {_repair(file)}")
    return file


def check_sha256(file: Path, expected: str) -> None:
    """Raise ArtefactError unless `file` has the expected sha256."""
    found = files.sha256(file)
    if found != expected:
        raise ArtefactError(f"{file}: sha256 is {found}, expected {expected}; {_repair(file)}")


def _repair(file: Path) -> str:
    """Command that reinstalls only the package of a file."""
    packages = packages_distributions()
    names = [packages[folder.name][0] for folder in file.parents if folder.name in packages]
    return f"pip install --force-reinstall --no-deps {names[0]}=={version(names[0])}" if names else INSTALL
