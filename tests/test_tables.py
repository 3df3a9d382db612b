"""pick: a key of the table, an import path, or an error that lists the keys."""

from __future__ import annotations

import json
import math
import sys

import pytest

from flipkd.errors import ConfigError
from flipkd.tables import pick

ROWS = {"dumps": "json:dumps", "square_root": "math:sqrt", "broken": "json:no_such_function"}


def test_pick_imports_the_object_of_a_key():
    assert pick(ROWS, "dumps", what="writer") is json.dumps
    assert pick(ROWS, "square_root", what="root") is math.sqrt


def test_pick_imports_a_path_that_is_not_in_the_table():
    assert pick({}, "json:loads", what="reader") is json.loads
    assert pick(ROWS, "os.path:join", what="joiner").__name__ == "join"


def test_pick_prefers_a_key_to_an_import_path_of_the_same_name():
    assert pick({"math:sqrt": "json:dumps"}, "math:sqrt", what="root") is json.dumps


@pytest.mark.parametrize("name", ["squareroot", "square_rot"])
def test_pick_lists_the_nearest_key_and_all_keys_for_an_unknown_name(name):
    with pytest.raises(ConfigError) as caught:
        pick(ROWS, name, what="root")
    assert str(caught.value) == (
        f"no root is called '{name}'; did you mean 'square_root'? allowed: dumps, square_root, broken, "
        "or your own as package.module:name"
    )


@pytest.mark.parametrize("name", ["", "math", "math.sqrt", "math:", ":"])
def test_pick_refuses_a_name_without_a_module_or_an_attribute(name):
    with pytest.raises(ConfigError, match="no root is called"):
        pick(ROWS, name, what="root")


@pytest.mark.parametrize(
    "name, why",
    [
        ("no_such_module_of_anyone:x", "ModuleNotFoundError: No module named 'no_such_module_of_anyone'"),
        ("math:no_such_root", "AttributeError: module 'math' has no attribute 'no_such_root'"),
        ("broken", "AttributeError: module 'json' has no attribute 'no_such_function'"),
        (":sqrt", "ValueError: Empty module name"),
        (".math:sqrt", "TypeError: the 'package' argument is required"),
    ],
)
def test_pick_names_the_error_of_a_failed_import(name, why):
    with pytest.raises(ConfigError) as caught:
        pick(ROWS, name, what="root")
    assert str(caught.value).startswith(f"root {name!r} cannot be imported ({why}")


def test_pick_names_the_error_of_a_module_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "mine_that_fails.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"'mine_that_fails:x' cannot be imported \(ZeroDivisionError: division"):
        pick({}, "mine_that_fails:x", what="objective")


def test_pick_imports_only_the_chosen_object():
    sys.modules.pop("this", None)
    assert pick({"zen": "this:s", "dumps": "json:dumps"}, "dumps", what="writer") is json.dumps
    assert "this" not in sys.modules
