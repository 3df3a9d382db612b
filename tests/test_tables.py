"""A choice by name: a row, an import path, or an error that lists the rows."""

from __future__ import annotations

import json
import math
import sys

import pytest

from flipkd.errors import ConfigError
from flipkd.tables import pick

ROWS = {"dumps": "json:dumps", "square_root": "math:sqrt", "broken": "json:no_such_function"}


def test_a_row_is_what_it_points_at():
    assert pick(ROWS, "dumps", what="writer") is json.dumps
    assert pick(ROWS, "square_root", what="root") is math.sqrt


def test_an_import_path_needs_no_row():
    assert pick({}, "json:loads", what="reader") is json.loads
    assert pick(ROWS, "os.path:join", what="joiner").__name__ == "join"


def test_a_row_wins_over_an_import_path_of_the_same_name():
    assert pick({"math:sqrt": "json:dumps"}, "math:sqrt", what="root") is json.dumps


@pytest.mark.parametrize("name", ["squareroot", "square_rot"])
def test_a_miss_names_the_nearest_row_and_all_rows(name):
    with pytest.raises(ConfigError) as caught:
        pick(ROWS, name, what="root")
    assert str(caught.value) == (
        f"no root is called '{name}'; did you mean 'square_root'? allowed: dumps, square_root, broken, "
        "or your own as package.module:name"
    )


@pytest.mark.parametrize("name", ["", "math", "math.sqrt", "math:", ":"])
def test_a_name_without_a_module_and_an_attribute_is_a_miss(name):
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
def test_what_cannot_be_imported_says_why(name, why):
    with pytest.raises(ConfigError) as caught:
        pick(ROWS, name, what="root")
    assert str(caught.value).startswith(f"root {name!r} cannot be imported ({why}")


def test_an_error_in_a_users_own_module_is_told(tmp_path, monkeypatch):
    (tmp_path / "mine_that_fails.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"'mine_that_fails:x' cannot be imported \(ZeroDivisionError: division"):
        pick({}, "mine_that_fails:x", what="objective")


def test_only_the_row_that_is_used_is_imported():
    sys.modules.pop("this", None)
    assert pick({"zen": "this:s", "dumps": "json:dumps"}, "dumps", what="writer") is json.dumps
    assert "this" not in sys.modules
