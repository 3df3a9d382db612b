"""docs/field.md: every system has options, commands and a test that exist, or a reason; the page is up to date."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import typer

from flipkd.cli import app
from flipkd.comparison.systems import SYSTEMS
from flipkd.generate.prompts import TEMPLATES
from flipkd.objectives import OBJECTIVES

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
OUT_OF_SCOPE = {4, 5, 35, 42, 68, 73, 97, 105} | {19, 46, 51, 55, 62, 116}  # no texts are scored; surveys
FEWEST_BUILT = 82
VERBS = typer.main.get_command(app).commands
NAMES = {"systems": SYSTEMS, "templates": TEMPLATES}  # options whose values are names of a table


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("field_page", DOCS / "field_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def problem(use: str) -> str:
    """What is wrong with one entry, as `train --objectives.margin_mse` or `generate --kind labels`; empty if nothing is."""
    verb, *words = shlex.split(use)
    if verb not in VERBS:
        return f"no command is called {verb}"
    fields = VERBS[verb].settings.model_fields
    if words and not words[0].startswith("--"):  # an argument
        field = next(field for field in fields.values() if (field.json_schema_extra or {}).get("argument"))
        return _not_a_choice(field, words[0])
    if not words:
        return ""
    option, *keys = words[0].removeprefix("--").split(".")
    if option not in fields:
        return f"{verb} has no option --{option}"
    if option == "objectives" and keys:
        return _not_an_objective(*keys)
    for value in words[1].split(",") if len(words) > 1 else ():
        if found := _not_a_choice(fields[option], value, NAMES.get(option)):
            return found
    return ""


def _not_an_objective(name: str, argument: str = "weight") -> str:
    if name not in OBJECTIVES:
        return f"no objective is called {name}"
    module, _, function = OBJECTIVES[name].partition(":")
    known = {"weight", *inspect.signature(getattr(import_module(module), function)).parameters}
    return "" if argument in known else f"{name} has no argument {argument}"


def _choices(annotation) -> list[object]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _not_a_choice(field, value, names=None) -> str:
    allowed = names or _choices(field.annotation)
    return "" if not allowed or value in map(str, allowed) else f"{value} is none of {sorted(map(str, allowed))}"


def test_field_page_is_up_to_date(made):
    page = made.page(made.systems())
    assert (DOCS / "field.md").read_text(encoding="utf-8") == page, "run: python docs/field_page.py"


def test_field_has_a_row_for_every_system_in_scope_with_what_is_built_or_a_reason(made):
    rows = made.systems()
    assert list(rows) == [number for number in range(1, 120) if number not in OUT_OF_SCOPE]
    for row in rows.values():
        whole = {"name", "idea", "built", "use", "test"}
        assert {*row} - {"figure"} in (whole, {"name", "idea", "reason"})
    assert len([row for row in rows.values() if "built" in row]) >= FEWEST_BUILT


def test_field_names_options_commands_and_objectives_that_exist(made):
    found = {number: [problem(use) for use in row.get("use", ())] for number, row in made.systems().items()}
    assert {number: problems for number, problems in found.items() if any(problems)} == {}


def test_field_names_tests_that_exist(made):
    for number, row in made.systems().items():
        if "test" in row:
            file, _, name = row["test"].partition("::")
            assert name in functions_of(TESTS / file), f"row {number}: {row['test']}"


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("distil", "no command is called distil"),
        ("train --colour", "train has no option --colour"),
        ("train --objectives.magic", "no objective is called magic"),
        ("train --objectives.list_mle.bottom", "list_mle has no argument bottom"),
        ("train --teacher_weights best", "best is none of"),
        ("compare --systems magic", "magic is none of"),
        ("generate --templates paraphrase,magic", "magic is none of"),
        ("diagnose magic", "magic is none of"),
    ],
)
def test_problem_names_a_use_that_does_not_exist(use, message):
    assert message in problem(use)
