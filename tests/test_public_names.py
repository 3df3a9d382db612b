"""The names of `import flipkd`: all there, each what it says, loaded when first used."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import flipkd

CLASSES = {"FlipkdError", "Index", "LanceIndex", "MatchBatch", "Matcher", "ScoreStore", "Teacher"}


def test_public_names_in_all_equal_the_table():
    assert set(flipkd.__all__) == set(flipkd._PUBLIC) | {"__version__"}
    assert len(flipkd.__all__) == len(set(flipkd.__all__))


def test_public_names_for_type_checkers_equal_the_table():
    tree = ast.parse(Path(flipkd.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(guarded.test) == "TYPE_CHECKING"
    assert {alias.name: node.module for node in guarded.body for alias in node.names} == flipkd._PUBLIC


def test_dir_lists_the_public_names():
    assert dir(flipkd) == sorted(flipkd.__all__)


@pytest.mark.parametrize("name", sorted(flipkd._PUBLIC))
def test_public_names_are_objects_of_their_modules(name):
    thing = getattr(import_module(flipkd._PUBLIC[name]), name)
    assert flipkd.__getattr__(name) is thing
    assert thing.__name__ == name
    assert thing.__module__ == flipkd._PUBLIC[name]
    assert inspect.isclass(thing) if name in CLASSES else inspect.isfunction(thing)
    assert inspect.getdoc(thing)


def test_public_names_are_not_names_of_packages():
    # `import flipkd.x` sets the attribute x of the package, so a public name must not be the name of a package.
    packages = {path.stem for path in Path(flipkd.__file__).parent.iterdir() if not path.name.startswith("_")}
    assert set(flipkd._PUBLIC) & packages == set()


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'flipkd' has no attribute 'Mather'"):
        _ = flipkd.Mather
    with pytest.raises(ImportError, match="cannot import name 'Mather'"):
        exec("from flipkd import Mather")


def test_public_name_version_is_the_installed_one():
    assert flipkd.__version__ == importlib.metadata.version("flipkd")


def test_public_name_loads_only_its_own_module():
    code = "import sys, flipkd; flipkd.FlipkdError; print(sorted(m for m in sys.modules if m.startswith('flipkd')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['flipkd', 'flipkd.errors']"
